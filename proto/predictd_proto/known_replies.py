"""Replies that differ in nothing but their numbers: what they share is read once and recognised by its bytes.

Owns the memory of such replies. A client in a loop gets the same header again and again; comparing it takes 1
microsecond, reading and checking it 11. Only the layout that `reply_template.py` writes is recognised. A frame that is
not byte for byte like one that passed every check before, but for numbers that are checked here, takes the ordinary way
through `frames.decode`. Any thread: what is remembered is replaced as a whole, never changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from predictd_proto.dtypes import NUMPY_DTYPES
from predictd_proto.messages import MAX_ID, PredictResponse
from predictd_proto.receipt import Receipt
from predictd_proto.reply_template import HEAD, HEAD_CONSTANTS, ReplyTemplate, closed_by_fact, fits_template
from predictd_proto.tensors import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: As `HEAD` unpacks them: constants at even places; at odd ones id, queue_ms, assemble_ms, execute_ms, split_ms,
#: batch_rows, padding_rows, batches, queued_rows.
Fields = tuple[Any, ...]

#: Kinds whose frames are equally long are told apart one by one.
MAX_KINDS = 16

#: Lengths of frames that are remembered; clients that ask for any number of rows must not make this grow.
MAX_SIZES = 256

_INFINITY = math.inf


class _Output(NamedTuple):
    """Where in a frame an output's data are, and what they are."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    numpy_dtype: np.dtype[Any]
    start: int
    end: int

    def array(self, frame: bytes) -> NDArray[Any]:
        return np.ndarray(self.shape, self.numpy_dtype, frame, self.start).copy()


class ReplyKind:
    """What the replies of one kind share.

    Args:
        response: Any of them, already checked.

    Attributes:
        head: The bytes between the numbers and the first output's data.
        is_single: Whether there is only one output.
        size: Length of a frame.
        version: The model version that answers.
        resolved: Whatever the holder has worked out for this kind.
    """

    __slots__ = (
        "_closed_by",
        "_constants",
        "_dtype",
        "_model",
        "_outputs",
        "_shape",
        "_start",
        "head",
        "is_single",
        "resolved",
        "size",
        "version",
    )

    def __init__(self, response: PredictResponse) -> None:
        receipt = response.receipt
        self._model = receipt.model
        self._closed_by = receipt.closed_by
        self.version: int = receipt.version
        self.resolved: Any = None
        template = ReplyTemplate(receipt.model, receipt.version, response.tensors)
        pieces = (closed_by_fact(receipt.closed_by) + template.first, *template.between)
        self.head: bytes = pieces[0]
        self._constants: list[tuple[bytes, int]] = []
        self._outputs: list[_Output] = []
        end = HEAD.size
        for piece, tensor in zip(pieces, response.tensors, strict=True):
            self._constants.append((piece, end))
            start = end + len(piece)
            end = start + len(tensor.data)
            numpy_dtype = NUMPY_DTYPES[tensor.dtype]
            self._outputs.append(_Output(tensor.name, tensor.dtype, tensor.shape, numpy_dtype, start, end))
        # Looked up once: this one is on the path of every request.
        first = self._outputs[0]
        self._shape, self._dtype, self._start = first.shape, first.numpy_dtype, first.start
        self.is_single: bool = len(self._outputs) == 1
        self.size: int = end

    def has_constants(self, frame: bytes) -> bool:
        """Whether a frame of this kind's length has all its constants behind the numbers."""
        return all(frame.startswith(piece, place) for piece, place in self._constants)

    def arrays(self, frame: bytes) -> dict[str, NDArray[Any]]:
        """Return a frame's outputs by name, as arrays that own their memory."""
        return {output.name: output.array(frame) for output in self._outputs}

    def first_array(self, frame: bytes) -> NDArray[Any]:
        """Return a frame's first output as an array that owns its memory."""
        return np.ndarray(self._shape, self._dtype, frame, self._start).copy()

    def tensors(self, frame: bytes) -> tuple[Tensor, ...]:
        """Return a frame's outputs."""
        return tuple(Tensor(item.name, item.dtype, item.shape, frame[item.start : item.end]) for item in self._outputs)

    def receipt(self, fields: Fields) -> Receipt:
        """Return the receipt that a frame's fields hold."""
        return Receipt(
            model=self._model,
            version=self.version,
            queue_ms=fields[3],
            assemble_ms=fields[5],
            execute_ms=fields[7],
            split_ms=fields[9],
            batch_rows=fields[11],
            padding_rows=fields[13],
            batches=fields[15],
            queued_rows=fields[17],
            closed_by=self._closed_by,
        )


class KnownReply(PredictResponse):
    """A response that was recognised: equal in all fields to the decoded one, but each is made when it is looked at.

    Args:
        kind: What it shares with others.
        frame: It, as received.
        fields: Its head.

    Attributes:
        kind: Likewise.
        frame: Likewise.
        fields: Likewise.
    """

    __slots__ = ("fields", "frame", "kind")

    # The fields of a response are frozen by Python code, which would cost more than all of this.
    __setattr__: Callable[..., None] = object.__setattr__
    __delattr__: Callable[..., None] = object.__delattr__

    def __init__(self, kind: ReplyKind, frame: bytes, fields: Fields) -> None:
        self.id: int = fields[1]
        self.kind: ReplyKind = kind
        self.frame: bytes = frame
        self.fields: Fields = fields

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The outputs."""
        return self.kind.tensors(self.frame)

    @property
    def receipt(self) -> Receipt:
        """The receipt."""
        return self.kind.receipt(self.fields)


class KnownReplies:
    """Recognises replies."""

    def __init__(self) -> None:
        self._kinds: dict[int, tuple[ReplyKind, ...]] = {}

    def recognise(self, frame: bytes) -> KnownReply | None:
        """Return what a frame holds; None when it must be decoded."""
        kinds = self._kinds.get(len(frame))
        if kinds is None:
            return None
        fields = HEAD.unpack_from(frame)
        if fields[::2] != HEAD_CONSTANTS or fields[1] > MAX_ID:
            return None
        # Four durations: a NaN fails every comparison, an infinite one makes the sum so.
        if not (fields[3] >= 0.0 <= fields[5] and fields[7] >= 0.0 <= fields[9]):
            return None
        if not fields[3] + fields[5] + fields[7] + fields[9] < _INFINITY:
            return None
        for kind in kinds:
            if frame.startswith(kind.head, HEAD.size) and (kind.is_single or kind.has_constants(frame)):
                return KnownReply(kind, frame, fields)
        return None

    def remember(self, frame: bytes, response: PredictResponse) -> None:
        """Remember the kind of a response that was decoded from the frame, where it is one that can be recognised."""
        if not frame.startswith(HEAD_CONSTANTS[0]) or len(frame) <= HEAD.size:
            return
        if HEAD.unpack_from(frame)[::2] != HEAD_CONSTANTS or not _is_fixed(response.tensors):
            return
        kind = ReplyKind(response)
        # Where any byte but a number's or the data's is other than from a template, it could be read in two ways.
        if kind.size != len(frame) or not kind.has_constants(frame):
            return
        if len(self._kinds) >= MAX_SIZES:
            self._kinds.clear()
        self._kinds[kind.size] = (kind, *self._kinds.get(kind.size, ()))[:MAX_KINDS]


def _is_fixed(tensors: tuple[Tensor, ...]) -> bool:
    """Whether every value of the data is a valid one: a bool's bytes need a look each time, strings have no size."""
    if any(tensor.dtype not in NUMPY_DTYPES or tensor.dtype == "bool" for tensor in tensors):
        return False
    return fits_template([len(tensor.data) for tensor in tensors])
