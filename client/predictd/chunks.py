"""Chunks: many rows sent as several requests, a few of them in flight, and their answers joined again.

Owns the size of a chunk, the window and the joining. Outputs are written straight into their place, so that rows never
sit in memory twice. The caller's thread; the window holds several connections, not threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from predictd.call import Call
from predictd.catalogue import Plan
from predictd.client import Client
from predictd.deadline import Deadline
from predictd.request_frames import Question
from predictd_proto.errors import RemoteProtocolError, RetryableError, TensorMismatchError
from predictd_proto.limits import Limits
from predictd_proto.messages import PredictResponse
from predictd_proto.tensors import DTYPE_BYTES, Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: A request of this size keeps any graph busy for longer than it takes to send the next one.
MOST_CHUNK_BYTES = 16 << 20

#: Full batches in one chunk: enough to hide the way there and back, few enough to let others in between.
BATCHES_PER_CHUNK = 8

#: Rows in one chunk where the server merges no rows.
MOST_UNBATCHED_ROWS = 1024

#: One runs, one waits at the server: more would only fill its queue.
WINDOW = 2

#: Where the size of an element isn't known before it is encoded (strings).
_GUESSED_BYTES = 64


def chunk_rows(plan: Plan, arrays: Sequence[NDArray[Any]], limits: Limits, batch_size: int | None) -> int:
    """Return how many rows go into one request.

    Args:
        plan: The signature.
        arrays: Its inputs.
        limits: What the server takes.
        batch_size: The caller's wish; bytes may ask for less.
    """
    row_bytes = sum(
        DTYPE_BYTES.get(spec.dtype, _GUESSED_BYTES) * (array[:1].size if array.ndim else 1)
        for spec, array in zip(plan.spec.inputs, arrays, strict=True)
    )
    most_bytes = min(MOST_CHUNK_BYTES, limits.max_request_bytes // 2)
    most_rows = min(max(most_bytes // max(row_bytes, 1), 1), limits.max_rows)
    if batch_size is not None:
        return min(batch_size, most_rows)
    largest = max(plan.metadata.batch_sizes, default=0)
    if not largest:
        return min(most_rows, MOST_UNBATCHED_ROWS)
    if most_rows <= largest:
        return most_rows
    return min(most_rows // largest, BATCHES_PER_CHUNK) * largest


class _Sent:
    """A question that was sent, or failed to be."""

    __slots__ = ("call", "deadline", "error", "question", "rows")

    def __init__(self, client: Client, question: Question, rows: int, timeout_ms: float | None) -> None:
        self.question = question
        self.rows = rows
        self.deadline: Deadline = client.deadline(timeout_ms)
        self.call: Call | None = None
        self.error: RetryableError | None = None
        try:
            self.call = client.begin(question, self.deadline)
        except RetryableError as error:
            self.error = error

    def answer(self, client: Client) -> tuple[PredictResponse, int]:
        """Wait for the answer, asking again where that helps; return it and the rows of its question."""
        error = self.error
        if error is None and self.call is not None:
            try:
                return self.call.finish()[0], self.rows
            except RetryableError as lost:
                error = lost
        assert error is not None, "neither sent nor failed"
        return client.ask_again(self.question, error, self.deadline)[0], self.rows


def ask_all(
    client: Client, questions: Iterator[tuple[Question, int]], timeout_ms: float | None
) -> Generator[tuple[PredictResponse, int], None, None]:
    """Return the answers to questions, each with its number of rows, in order, a few questions under way at any time.

    Args:
        client: Asks.
        questions: With their number of rows; made one by one, as there is room.
        timeout_ms: What each of them may take.

    Raises:
        PredictdError: One of them failed; those under way are cancelled.
    """
    under_way: deque[_Sent] = deque()
    try:
        for question, rows in questions:
            if len(under_way) >= WINDOW:
                yield under_way.popleft().answer(client)
            under_way.append(_Sent(client, question, rows, timeout_ms))
        while under_way:
            yield under_way.popleft().answer(client)
    finally:
        for sent in under_way:
            if sent.call is not None:
                sent.call.give_up()


class Joined:
    """Outputs of consecutive chunks, joined along the rows.

    Args:
        rows: How many rows there will be; None where that isn't known before the end.
    """

    def __init__(self, rows: int | None) -> None:
        self._rows = rows
        self._filled = 0
        self._whole: list[NDArray[Any]] = []
        self._parts: list[list[NDArray[Any]]] = []

    def add(self, tensors: Sequence[Tensor], rows: int) -> None:
        """Take the next chunk's outputs, in the signature's order.

        Raises:
            RemoteProtocolError: They don't have as many rows as the chunk.
            TensorMismatchError: Their other axes differ from those of earlier chunks.
        """
        for tensor in tensors:
            if not tensor.shape or tensor.shape[0] != rows:
                text = f"output {tensor.name!r}: expected {rows} rows, as many as were sent, got {tensor}"
                raise RemoteProtocolError(text)
        if self._rows is None:
            self._parts.append([tensor.array() for tensor in tensors])
            return
        views = [tensor.view() for tensor in tensors]
        if not self._whole:
            self._whole = [np.empty((self._rows, *view.shape[1:]), view.dtype) for view in views]
        for whole, view, tensor in zip(self._whole, views, tensors, strict=True):
            _check_same(tensor.name, whole, view)
            whole[self._filled : self._filled + rows] = view
        self._filled += rows

    @property
    def is_empty(self) -> bool:
        """Whether there was no chunk."""
        return not self._whole and not self._parts

    def arrays(self) -> list[NDArray[Any]]:
        """Return the outputs."""
        if self._rows is not None:
            return self._whole
        whole: list[NDArray[Any]] = []
        for column in zip(*self._parts, strict=True):
            for part in column[1:]:
                _check_same(str(len(whole)), column[0], part)
            whole.append(np.concatenate(column))
        return whole


def _check_same(name: str, before: NDArray[Any], now: NDArray[Any]) -> None:
    if before.shape[1:] != now.shape[1:]:
        text = (
            f"output {name!r}: one chunk gives rows of shape {list(before.shape[1:])}, another {list(now.shape[1:])}: "
            "they can't be joined; pad the inputs to one length, or call predict_on_batch for each part"
        )
        raise TensorMismatchError(text)
