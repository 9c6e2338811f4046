"""Kinds of request: questions that differ in their numbers only are fitted, checked and packed once.

Owns the memory of one signature's kinds. A caller in a loop asks with arrays of one dtype and shape; what was found
out for the first of them holds for all: that they fit, what they are cast to, and every byte of the request but id,
time and data. Whatever is not exactly as before takes the ordinary way. Any thread: entries are only added or dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from predictd_proto.dtypes import NUMPY_DTYPES
from predictd_proto.joined_requests import JoinedRequest, joined_request

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from predictd.requests.request_frames import Question
    from predictd_proto.limits import Limits
    from predictd_proto.messages import PredictRequest
    from predictd_proto.tensors import Tensor

#: Each is a dtype and a shape that callers use; those that come in any shape must not make this grow.
MAX_KINDS = 256


class _Kind:
    """One of them: how an array becomes a request, and which limits that was checked against."""

    __slots__ = ("cast_to", "joined", "limits", "rank", "rows", "rows_out", "shapes")

    def __init__(self, tensor: Tensor, joined: JoinedRequest, question: Question, limits: Limits) -> None:
        array = question.inputs
        dtype = NUMPY_DTYPES[tensor.dtype]
        self.cast_to = None if array.dtype == dtype else dtype
        self.joined = joined
        self.rank = len(tensor.shape)
        self.rows = tensor.shape[0] if tensor.shape else 0
        self.rows_out = question.rows
        self.shapes = question.shapes
        self.limits = limits

    def data(self, array: NDArray[Any]) -> bytes:
        if self.cast_to is None:
            return array.tobytes()
        with np.errstate(invalid="ignore", over="ignore"):  # as `fitting.py` casts
            return array.astype(self.cast_to).tobytes()

    def is_allowed(self, limits: Limits) -> bool:
        """Whether a server takes it; each connection has its own copy of mostly the same limits."""
        size = self.joined.header_bytes
        if self.rank > limits.max_rank or self.rows > limits.max_rows:
            return False
        if size > limits.max_header_bytes or size > limits.max_request_bytes:
            return False
        self.limits = limits
        return True


class RequestKinds:
    """The kinds of request that were sent for one signature."""

    __slots__ = ("_kinds",)

    def __init__(self) -> None:
        self._kinds: dict[tuple[Any, ...], _Kind] = {}

    def frame(self, question: Question, limits: Limits, request_id: int, remaining_ms: float) -> bytes | None:
        """Return a request as its only frame; None for a question of an unknown kind.

        Args:
            question: What is asked.
            limits: What the server takes.
            request_id: The request's id on its connection.
            remaining_ms: What is left of the caller's time, in milliseconds.

        Raises:
            LocalProtocolError: The id or the time is none.
        """
        key = _key(question)
        if key is None:
            return None
        try:
            kind = self._kinds.get(key)
        except TypeError:  # a list for a text, say: the ordinary way tells what is wrong
            return None
        if kind is None or (limits is not kind.limits and not kind.is_allowed(limits)):
            return None
        question.rows = kind.rows_out
        question.shapes = kind.shapes
        return kind.joined.frame(request_id, remaining_ms, kind.data(question.inputs))

    def remember(self, question: Question, request: PredictRequest, limits: Limits) -> None:
        """Remember the kind of a question that became this request, where it is one that can be joined."""
        key = _key(question)
        if key is None or not request.tensors or request.tensors[0].dtype not in NUMPY_DTYPES:
            return
        joined = joined_request(request)
        if joined is None:
            return
        kind = _Kind(request.tensors[0], joined, question, limits)
        if kind.data(question.inputs) != request.tensors[0].data:
            return
        if len(self._kinds) >= MAX_KINDS:
            self._kinds.clear()
        self._kinds[key] = kind


def _key(question: Question) -> tuple[Any, ...] | None:
    """Return all that decides about a request but its numbers; None for what must be looked at each time."""
    array, version, signature = question.inputs, question.version, question.signature
    caller_class, traceparent, task_id, task_name = question.caller
    if type(array) is not np.ndarray or traceparent or task_id or task_name or question.is_matched:
        return None
    return (
        array.dtype,
        array.shape,
        version,
        signature,
        caller_class,
        question.cast,
        question.is_lenient,
        # What is equal need not be of one type (1, 1.0 and True; texts of all kinds), and only one is accepted.
        type(question.model),
        type(version),
        type(signature),
        type(caller_class),
    )
