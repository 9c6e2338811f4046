"""Chunks: many rows sent as several requests, a few of them in flight.

Owns the size of a chunk and the window. How their answers are joined is `joined_outputs.py`'s. The caller's thread; the
window holds several connections, not threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from predictd_proto.tensors import DTYPE_BYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from predictd.requests.catalogue import Plan
    from predictd.requests.request_frames import Question
    from predictd.routing.asking import Asking
    from predictd.routing.routed_call import RoutedCall
    from predictd.rows.lazy_rows import LazyRows
    from predictd_proto.limits import Limits
    from predictd_proto.messages import PredictResponse
    from predictd_proto.tensors import TensorSpec

    Arrays = Sequence[NDArray[Any] | LazyRows]

#: Of a request or its answer, whichever is larger: this keeps any graph busy for longer than it takes to send the next.
MOST_CHUNK_BYTES = 16 << 20

#: Keras' own batch size. Of rows that the server never merges, one request is one batch, and what a batch holds may
#: matter to the model.
KERAS_BATCH_SIZE = 32

#: For so long the graph runs for one request, where its speed is known. Against the 0.3 ms that a request costs on its
#: way this is long; to other callers, whose rows come in between, and to a progress bar it is short. Measured, 10^6
#: rows of 64 floats through a small model on two cores: 1.5 ms 3.0 s in all, 3 ms 2.1, 5 ms 2.3, 10 ms 2.2, 30 ms 2.9
#: (larger messages are new memory to both sides every time). Keras itself: 42 s, with a batch size of 1024 1.7 s.
BUSY_MS = 5.0

#: From one chunk to the next: one measurement may be wrong.
MOST_GROWTH = 4

#: One runs, one waits at the server: more would only fill its queue, where large requests take turns batch by batch.
#: Measured, 200,000 rows, with chunks of 64 rows: window 1 2.2 s, 2 0.83 s, 4 0.97 s, 8 1.7 s; with 2,000 rows 0.71,
#: 0.57, 0.88 and 0.84 s.
WINDOW = 2

#: Where the size of an element isn't known before it is encoded (strings).
_GUESSED_BYTES = 64


class Pace:
    """How long the graph takes for a row and how large its outputs are, from the answers to earlier chunks.

    Kept by the remote model between its calls. Threads may share one: a lost update is as good as none.
    """

    __slots__ = ("_most_rows", "_ms_per_row", "output_row_bytes")

    def __init__(self) -> None:
        self._ms_per_row: float | None = None
        self._most_rows: int = 0
        self.output_row_bytes: int = 0

    def heard(self, rows: int, answer: PredictResponse) -> None:
        """Take note of an answer."""
        if rows > 0:
            receipt = answer.receipt
            busy_ms = receipt.assemble_ms + receipt.execute_ms + receipt.split_ms
            self._ms_per_row, self._most_rows = busy_ms / rows, rows * MOST_GROWTH
            self.output_row_bytes = sum(tensor.byte_count for tensor in answer.tensors) // rows

    def rows(self) -> int:
        """Return how many rows keep the graph busy for `BUSY_MS`; 0 where nothing is known yet."""
        ms_per_row = self._ms_per_row
        if ms_per_row is None:
            return 0
        return min(self._most_rows, int(BUSY_MS / max(ms_per_row, 1e-9)))


class ChunkSize:
    """How many rows go into one request.

    Args:
        plan: The signature.
        limits: What the server takes.
        batch_size: The caller's wish; bytes may ask for less.
        pace: What is known of the model's speed.
        unmerged_rows: Rows per request without such a wish, where the server merges no rows.
    """

    def __init__(self, plan: Plan, limits: Limits, batch_size: int | None, pace: Pace, *, unmerged_rows: int) -> None:
        self._plan = plan
        self._limits = limits
        self._pace = pace
        self._unit = max(plan.batch_sizes, default=0)
        self._fixed = _fixed_rows(plan)
        self._output_row_bytes = _row_bytes(plan.spec.outputs, [spec.shape[1:] for spec in plan.spec.outputs])
        self._wanted = batch_size
        if self._wanted is None and not self._unit:
            self._wanted = unmerged_rows

    def rows(self, arrays: Arrays) -> int:
        """Return how many of these arrays' rows go into the next request."""
        if self._fixed:
            return self._fixed
        most_bytes = min(MOST_CHUNK_BYTES, self._limits.max_request_bytes // 2)
        row_bytes = max(self._input_row_bytes(arrays), self._output_row_bytes, self._pace.output_row_bytes, 1)
        most_rows = min(max(most_bytes // row_bytes, 1), self._limits.max_rows)
        if self._wanted is not None:
            return min(self._wanted, most_rows)
        # Full batches only: then each has the same size, and the same path through the graph.
        return min(max(min(self._pace.rows(), most_rows) // self._unit, 1) * self._unit, most_rows)

    def _input_row_bytes(self, arrays: Arrays) -> int:
        return _row_bytes(self._plan.spec.inputs, [array.shape[1:] for array in arrays])


def _row_bytes(specs: Sequence[TensorSpec], shapes: Sequence[Sequence[int | None]]) -> int:
    """Return the size of a row as it travels; a free axis of which nothing is known counts as 1."""
    elements = [prod(length or 1 for length in shape) for shape in shapes]
    return sum(DTYPE_BYTES.get(spec.dtype, _GUESSED_BYTES) * count for spec, count in zip(specs, elements, strict=True))


def _fixed_rows(plan: Plan) -> int:
    """Return the number of rows that a model always takes; 0 for any number."""
    counts = {spec.shape[0] if spec.shape else None for spec in plan.spec.inputs}
    return (counts.pop() or 0) if len(counts) == 1 else 0


class Chunk(NamedTuple):
    """One request of several.

    Attributes:
        question: What is asked.
        rows: How many rows it holds.
        steps: How many of the caller's steps are over once it is answered.
    """

    question: Question
    rows: int
    steps: int


class _Sent:
    """A chunk that was sent, or will be sent again."""

    __slots__ = ("call", "chunk")

    def __init__(self, asking: Asking, chunk: Chunk, timeout_ms: float | None, *, is_alone: bool) -> None:
        self.chunk: Chunk = chunk
        self.call: RoutedCall = asking.begin(chunk.question, asking.deadline(timeout_ms), is_alone=is_alone)


def ask_all(
    asking: Asking, chunks: Iterator[Chunk], timeout_ms: float | None
) -> Generator[tuple[PredictResponse, Chunk], None, None]:
    """Return the answers to chunks, in order, a few of them under way at any time.

    Args:
        asking: Asks.
        chunks: Made one by one, as there is room.
        timeout_ms: What each of them may take.

    Raises:
        PredictdError: One of them failed; those under way are cancelled.
    """
    under_way: deque[_Sent] = deque()
    try:
        for chunk in chunks:
            while len(under_way) >= WINDOW:
                yield _first_answer(under_way)
            under_way.append(_Sent(asking, chunk, timeout_ms, is_alone=not under_way))
        while under_way:
            yield _first_answer(under_way)
    finally:
        for sent in under_way:
            sent.call.give_up()


def _first_answer(under_way: deque[_Sent]) -> tuple[PredictResponse, Chunk]:
    # It stays in the window until its answer is here: whatever is raised meanwhile, it is given up with the others.
    first = under_way[0]
    answer = first.call.finish()[0]
    under_way.popleft()
    return answer, first.chunk
