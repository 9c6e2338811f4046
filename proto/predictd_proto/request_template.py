"""Requests that differ in nothing but id, time and data: what they share is read once and recognised by its bytes.

Owns the memory of such requests. A client in a loop sends the same header again and again; comparing it takes 1
microsecond, reading and checking it 6. A frame that is not byte for byte like one that passed every check before takes
the ordinary way through `frames.decode`. Pump thread only: an instance is not safe for several.

The layout that can be recognised is the one that `encode` writes for a request with one small tensor: id, timeout_ms,
anything else, tensors last, the data at the very end.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

from predictd_proto.frames import encode, envelope
from predictd_proto.limits import INLINE_TENSOR_BYTES
from predictd_proto.messages import PredictRequest
from predictd_proto.tensors import DTYPE_BYTES

_BEGIN = envelope(PredictRequest)
_ID_KEY = b"\xa2id"
_TIMEOUT_KEY = b"\xaatimeout_ms\xcb"
_FLOAT = struct.Struct(">d")
_MAP_AT = len(_BEGIN)
_ID_AT = _MAP_AT + 1 + len(_ID_KEY)
_UINT64 = 0xCF

#: How nearly every frame begins: up to the id, which takes eight bytes, and the time.
_HEAD = struct.Struct(f">{_ID_AT}sBQ{len(_TIMEOUT_KEY)}sd")
_INFINITY = math.inf

#: Bytes that follow the first byte of a msgpack number: 0xcc to 0xcf are uint8 to uint64; below 0x80 it is the number.
_ID_BYTES = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_MOST_SMALL_ID = 0x7F
_MAX_ID = (1 << 63) - 1

#: Each shape of request is one entry; clients that make up names without end must not make this grow.
MAX_ENTRIES = 256

#: Kinds whose frames are equally long and whose data are not: each costs every such frame a comparison.
MAX_SIZES = 4


@dataclass(slots=True, eq=False)
class KnownRequest:
    """What requests of one kind share.

    Attributes:
        begin: The bytes before the id; the last but `id`'s key says how many fields there are.
        middle: The bytes between the time and the data.
        data_bytes: Size of the data.
        request: The first of its kind, already checked.
        resolved: Whatever the holder has worked out for this kind.
    """

    begin: bytes
    middle: bytes
    data_bytes: int
    request: PredictRequest
    resolved: Any = None


class RequestTemplates:
    """Recognises requests."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, bytes], KnownRequest] = {}
        self._sizes: dict[int, set[int]] = {}
        self._newest: dict[int, KnownRequest] = {}

    def recognise(self, frame: bytes) -> tuple[KnownRequest, int, float, bytes] | None:
        """Return what is known of a frame, its id, timeout_ms and data; None when it must be decoded."""
        known = self._newest.get(len(frame))
        if known is not None:
            # Like the one before it of that length: 0.6 microseconds instead of 1.2.
            begin, mark, request_id, key, timeout_ms = _HEAD.unpack_from(frame)
            if (
                begin == known.begin
                and mark == _UINT64
                and request_id <= _MAX_ID
                and key == _TIMEOUT_KEY
                and 0.0 <= timeout_ms < _INFINITY
                and frame.startswith(known.middle, _HEAD.size)
            ):
                return known, request_id, timeout_ms, frame[-known.data_bytes :]
        found = self._search(frame)
        if found is not None and frame[_ID_AT] == _UINT64:
            if len(self._newest) >= MAX_ENTRIES:
                self._newest.clear()
            self._newest[len(frame)] = found[0]
        return found

    def _search(self, frame: bytes) -> tuple[KnownRequest, int, float, bytes] | None:
        split = _split(frame)
        if split is None:
            return None
        request_id, timeout_ms, position = split
        for data_bytes in self._sizes.get(len(frame) - position, ()):
            known = self._known.get((frame[_MAP_AT], frame[position:-data_bytes]))
            if known is not None:
                return known, request_id, timeout_ms, frame[-data_bytes:]
        return None

    def remember(self, frame: bytes, request: PredictRequest) -> KnownRequest | None:
        """Remember a request that was decoded from the frame; None when its kind can't be recognised later."""
        split = _split(frame)
        if split is None or len(request.tensors) != 1 or request.segments:
            return None
        if request.task_id or request.traceparent or request.task_name:
            return None
        data = request.tensors[0].data
        # A bool's bytes need a look each time; strings have no fixed size.
        if request.tensors[0].dtype == "bool" or request.tensors[0].dtype not in DTYPE_BYTES:
            return None
        if not 0 < len(data) <= INLINE_TENSOR_BYTES or not _is_as_encoded(frame, split[2], request):
            return None
        if len(self._known) >= MAX_ENTRIES:
            self._known.pop(next(iter(self._known)))
        if len(self._sizes) >= MAX_ENTRIES:
            self._sizes.clear()
        position = split[2]
        known = KnownRequest(frame[:_ID_AT], frame[position : -len(data)], len(data), request)
        self._known[frame[_MAP_AT], known.middle] = known
        sizes = self._sizes.setdefault(len(frame) - position, set())
        if len(sizes) >= MAX_SIZES:
            sizes.clear()
        sizes.add(len(data))
        return known


def _is_as_encoded(frame: bytes, position: int, request: PredictRequest) -> bool:
    """Whether all but id and time is as `encode` writes it: no key twice, none unknown, the data at the very end.

    Otherwise the same bytes could be read in two ways, and the fast one could be the wrong one.
    """
    encoded = bytes(encode(request)[0])
    split = _split(encoded)
    if split is None or encoded[_MAP_AT] != frame[_MAP_AT]:
        return False
    return encoded[split[2] :] == frame[position:]


def _split(frame: bytes) -> tuple[int, float, int] | None:
    """Return id, timeout_ms and where the rest begins; None for another layout."""
    if len(frame) < _ID_AT + 1 or frame[:_MAP_AT] != _BEGIN or frame[_MAP_AT + 1 : _ID_AT] != _ID_KEY:
        return None
    request_id = frame[_ID_AT]
    position = _ID_AT + 1
    if request_id > _MOST_SMALL_ID:
        more = _ID_BYTES.get(request_id)
        if more is None:
            return None
        request_id = int.from_bytes(frame[position : position + more], "big")
        position += more
        if request_id > _MAX_ID:
            return None
    end = position + len(_TIMEOUT_KEY)
    if frame[position:end] != _TIMEOUT_KEY or len(frame) < end + 8:
        return None
    timeout_ms = _FLOAT.unpack_from(frame, end)[0]
    return (request_id, timeout_ms, end + 8) if 0 <= timeout_ms < float("inf") else None
