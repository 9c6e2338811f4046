"""Requests joined from what they share: a client in a loop packs and checks the same header only once.

Owns a second, faster way to the bytes that `frames.encode` gives for a `PredictRequest` with one small tensor: 0.5
microseconds instead of 5 with the checks of its fields. Any thread.
"""

from __future__ import annotations

import math
import struct

from predictd_proto.checks import check_int, check_number, refuse
from predictd_proto.frames import encode, envelope
from predictd_proto.headers import pack_header
from predictd_proto.messages import MAX_ID, PredictRequest
from predictd_proto.tensors import DTYPE_BYTES

_BEGIN = envelope(PredictRequest)
_ID_KEY = b"\xa2id"
_TIMEOUT_KEY = b"\xaatimeout_ms\xcb"
_FLOAT = struct.Struct(">d")

# msgpack's specification: 0xcf a uint64; smaller numbers take fewer bytes.
_UINT64 = b"\xcf"
_MOST_UINT32 = 0xFFFFFFFF


class JoinedRequest:
    """What requests share that differ in nothing but id, time and data. Made by `joined_request`.

    Args:
        begin: The bytes before the id.
        middle: The bytes between the time and the data.
        data_bytes: Size of the data.

    Attributes:
        data_bytes: Likewise.
        header_bytes: The size of the longest of these requests, which is one frame.
    """

    __slots__ = ("_begin", "_middle", "_whole", "_whole_begin", "data_bytes", "header_bytes")

    def __init__(self, begin: bytes, middle: bytes, data_bytes: int) -> None:
        self.data_bytes: int = data_bytes
        self._begin = begin
        self._middle = middle
        # Nearly every id takes eight bytes: then all of it is one call.
        self._whole_begin = begin + _UINT64
        self._whole = struct.Struct(f">{len(begin) + 1}sQ{len(_TIMEOUT_KEY)}sd{len(middle)}s{data_bytes}s")
        self.header_bytes: int = self._whole.size

    def frame(self, request_id: int, timeout_ms: float, data: bytes) -> bytes:
        """Return one request, as its only frame.

        Args:
            request_id: Its id.
            timeout_ms: What is left of its caller's time.
            data: The tensor's bytes.

        Raises:
            LocalProtocolError: The id or the time is none, or the data are not as long as the others'.
        """
        if len(data) != self.data_bytes:
            refuse("data", f"{self.data_bytes} bytes", len(data))
        if type(timeout_ms) is not float or not 0.0 <= timeout_ms < math.inf:
            check_number("timeout_ms", timeout_ms)
            timeout_ms = float(timeout_ms)
        if _MOST_UINT32 < request_id <= MAX_ID:
            return self._whole.pack(self._whole_begin, request_id, _TIMEOUT_KEY, timeout_ms, self._middle, data)
        check_int("id", request_id, 0, MAX_ID)
        number, time = pack_header(request_id, "id"), _FLOAT.pack(timeout_ms)
        return b"".join((self._begin, number, _TIMEOUT_KEY, time, self._middle, data))


def joined_request(request: PredictRequest) -> JoinedRequest | None:
    """Return what a request shares with others of its kind; None for a kind that can't be joined.

    Args:
        request: Any of them, already checked.
    """
    if len(request.tensors) != 1 or type(request.timeout_ms) is not float:
        return None
    tensor = request.tensors[0]
    frames = encode(request)
    if len(frames) != 1 or tensor.dtype not in DTYPE_BYTES:
        return None
    frame = bytes(frames[0])
    id_at = len(_BEGIN) + 1 + len(_ID_KEY)
    time_at = id_at + len(pack_header(request.id, "id")) + len(_TIMEOUT_KEY)
    data_bytes = len(tensor.data)
    return JoinedRequest(frame[:id_at], frame[time_at + _FLOAT.size : len(frame) - data_bytes], data_bytes)
