"""Replies of one batch: what they share is packed once, and each reply is joined from it.

Owns a second, faster way to the bytes that `frames.encode` gives for a `PredictResponse` (the keys are in another
order, which no reader minds). A server answers tens of thousands of small requests a second: 1.5 microseconds a reply
instead of 7. Any thread.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import fields

from predictd_proto.entries import packed_entry
from predictd_proto.frames import envelope
from predictd_proto.headers import pack_header
from predictd_proto.limits import INLINE_TENSOR_BYTES
from predictd_proto.messages import PredictResponse
from predictd_proto.receipt import Receipt
from predictd_proto.tensors import Buffer, Tensor

# msgpack's specification: 0x8n and 0x9n are a map and a list of n, 0xcf a uint64, 0xcb a float64.
_ID = struct.Struct(">BQ")
_FLOAT = struct.Struct(">Bd")
_UINT64, _FLOAT64 = 0xCF, 0xCB
_MOST_SMALL_LIST = 15

_RECEIPT_NAMES = tuple(item.name for item in fields(Receipt) if item.name != "queue_ms")
_BEGIN = envelope(PredictResponse) + bytes((0x83,)) + pack_header("id", "key")
_RECEIPT_BEGIN = (
    pack_header("receipt", "key") + bytes((0x80 + len(_RECEIPT_NAMES) + 1,)) + pack_header("queue_ms", "key")
)


class ReplyTemplate:
    """Makes the replies of one batch whose outputs have the same names, dtypes and shapes.

    Args:
        receipt: Of any of them; each reply has its own `queue_ms`.
        tensors: Outputs of any of them; each reply has its own data, of the same sizes.
    """

    __slots__ = ("_between", "_first")

    def __init__(self, receipt: Receipt, tensors: Sequence[Tensor]) -> None:
        parts = [pack_header(name, "key") + pack_header(getattr(receipt, name), name) for name in _RECEIPT_NAMES]
        shared = b"".join(parts) + pack_header("tensors", "key") + bytes((0x90 + len(tensors),))
        pieces = [packed_entry(tensor) for tensor in tensors]
        self._first = shared + pieces[0]
        self._between = pieces[1:]

    def frame(self, request_id: int, queue_ms: float, data: Sequence[Buffer]) -> bytes:
        """Return one reply, as its only frame.

        Args:
            request_id: Whose reply it is.
            queue_ms: Its own time in the queue.
            data: Each output's bytes.
        """
        head = (
            _BEGIN,
            _ID.pack(_UINT64, request_id),
            _RECEIPT_BEGIN,
            _FLOAT.pack(_FLOAT64, queue_ms),
            self._first,
            data[0],
        )
        if not self._between:
            return b"".join(head)
        rest: list[Buffer] = list(head)
        for piece, more in zip(self._between, data[1:], strict=True):
            rest.append(piece)
            rest.append(more)
        return b"".join(rest)


def fits_template(tensors: Sequence[Tensor]) -> bool:
    """Whether a reply with these outputs can be made from a template: few, and all inside the header."""
    return 0 < len(tensors) <= _MOST_SMALL_LIST and all(len(tensor.data) <= INLINE_TENSOR_BYTES for tensor in tensors)
