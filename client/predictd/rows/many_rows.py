"""Many rows: from arrays or batches of any size to joined outputs, by as many requests as that takes.

Owns the way from rows to chunks and back for `RemoteModel.predict`. How large a chunk is and how many are under way is
`chunks.py`'s. The caller's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from predictd.requests.catalogue import Plan
from predictd.requests.request_frames import Question
from predictd.requests.wrong_outputs import unexpected_names
from predictd.rows.chunks import Chunk, ChunkSize, Pace, ask_all
from predictd.rows.joined_outputs import Joined
from predictd.rows.lazy_rows import LazyRows
from predictd.rows.progress import ProgressBar
from predictd_proto.errors import TensorMismatchError
from predictd_proto.limits import Limits
from predictd_proto.structures import fill_structure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from predictd.routing.asking import Asking

    Arrays = Sequence[NDArray[Any] | LazyRows]


class ManyRows:
    """Asks for many rows.

    Args:
        asking: Asks.
        plan: The signature.
        limits: What the server takes in one request.
        question: Makes a question of arrays by the names of the inputs, for the plan's version and no other.
        timeout_ms: What each request may take; None for the client's time-out.
        pace: What is known of the model's speed.
    """

    def __init__(
        self,
        asking: Asking,
        plan: Plan,
        limits: Limits,
        *,
        question: Callable[[dict[str, NDArray[Any]]], Question],
        timeout_ms: float | None,
        pace: Pace,
    ) -> None:
        self._asking = asking
        self._plan = plan
        self._limits = limits
        self._question = question
        self._names = [spec.name for spec in plan.spec.inputs]
        self._timeout_ms = timeout_ms
        self._pace = pace

    def of_arrays(self, arrays: Arrays, batch_size: int | None, per_step: int, verbose: str | int) -> Any:
        """Return the outputs for arrays that hold all the rows.

        Args:
            arrays: One per input, in the signature's order.
            batch_size: Rows per request, where the caller wishes; None for as many as suit the server.
            per_step: Rows in a step of the progress bar: it counts as Keras', whatever the chunks are. Where the server
                merges no rows, each is a request.
            verbose: As Keras.
        """
        rows = row_count(arrays)
        size = ChunkSize(self._plan, self._limits, batch_size, self._pace, unmerged_rows=per_step)
        bar = ProgressBar(-(-(rows or 0) // per_step), verbose)

        def chunks() -> Iterator[Chunk]:
            for question, count, done in self._cut(arrays, size):
                yield Chunk(question, count, -(-done // per_step))

        return self._joined(chunks(), rows, bar)

    def of_batches(self, batches: Iterable[Arrays], bar: ProgressBar) -> Any:
        """Return the outputs for batches that come one by one; each is a step."""
        size = ChunkSize(self._plan, self._limits, None, self._pace, unmerged_rows=self._limits.max_rows)

        def chunks() -> Iterator[Chunk]:
            for number, arrays in enumerate(batches):
                rows = row_count(arrays)
                for question, count, done in self._cut(arrays, size):
                    yield Chunk(question, count, number + (done == rows))

        return self._joined(chunks(), None, bar)

    def _cut(self, arrays: Arrays, size: ChunkSize) -> Iterator[tuple[Question, int, int]]:
        """Cut rows into questions, each with its rows and those up to its end.

        Slices are views: a chunk is read, cast and copied only when its turn comes.
        """
        rows = row_count(arrays)
        if rows is None:
            # Refused as it is, with the reason, by whoever checks shapes.
            yield self._named([array[:] if isinstance(array, LazyRows) else array for array in arrays]), 0, 0
            return
        start = 0
        while start < rows or not start:
            stop = min(start + size.rows(arrays), rows)
            yield self._named([array[start:stop] for array in arrays]), stop - start, stop
            if not rows:
                return
            start = stop

    def _named(self, arrays: Sequence[NDArray[Any]]) -> Question:
        return self._question(dict(zip(self._names, arrays, strict=True)))

    def _joined(self, chunks: Iterator[Chunk], rows: int | None, bar: ProgressBar) -> Any:
        plan, joined = self._plan, Joined(rows)
        # Closed here and now, whatever is raised: what is under way is cancelled then, not when the error is forgotten.
        with closing(ask_all(self._asking, chunks, self._timeout_ms)) as answers:
            for answer, chunk in answers:
                if not plan.fits(answer.tensors):
                    # Another version answered this chunk than the ones before.
                    raise unexpected_names(plan, answer.tensors)
                joined.add(plan.in_order(answer.tensors), chunk.rows)
                self._pace.heard(chunk.rows, answer)
                bar.reach(chunk.steps)
        bar.close()
        if joined.is_empty:
            text = f"{plan.label}: the generator or data set gave no batch"
            raise TensorMismatchError(text)
        names = [spec.name for spec in plan.spec.outputs]
        return fill_structure(plan.spec.output_structure, dict(zip(names, joined.arrays(), strict=True)))


def row_count(arrays: Arrays) -> int | None:
    """Return how many rows all of them have; None where they don't agree or have none: that is refused elsewhere."""
    counts = {array.shape[0] if array.ndim else -1 for array in arrays}
    return counts.pop() if len(counts) == 1 and -1 not in counts else None
