"""Many rows: from arrays or batches of any size to joined outputs, by as many requests as that takes.

Owns the way from rows to chunks and back for `RemoteModel.predict`. How large a chunk is, how many are under way and
how their outputs are joined is `chunks.py`'s. The caller's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from predictd.catalogue import Plan, unexpected_outputs
from predictd.chunks import Joined, ask_all, chunk_rows
from predictd.client import Client
from predictd.progress import ProgressBar
from predictd.request_frames import Question
from predictd_proto.errors import TensorMismatchError
from predictd_proto.limits import Limits
from predictd_proto.structures import fill_structure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Sequence[NDArray[Any]]


class ManyRows:
    """Asks for many rows.

    Args:
        client: Asks.
        plan: The signature.
        limits: What the server takes in one request.
        question: Makes a question of one array per input.
        timeout_ms: What each request may take; None for the client's time-out.
        batch_size: Rows per request, where the caller wishes; None for as many as suit the server.
    """

    def __init__(
        self,
        client: Client,
        plan: Plan,
        limits: Limits,
        *,
        question: Callable[[Arrays], Question],
        timeout_ms: float | None,
        batch_size: int | None,
    ) -> None:
        self._client = client
        self._plan = plan
        self._limits = limits
        self._question = question
        self._timeout_ms = timeout_ms
        self._batch_size = batch_size

    def of_arrays(self, arrays: Arrays, verbose: str | int) -> Any:
        """Return the outputs for arrays that hold all the rows."""
        rows = row_count(arrays)
        per_chunk = chunk_rows(self._plan, arrays, self._limits, self._batch_size)
        if rows is not None and rows > per_chunk:
            return self._joined(self._chunks(arrays), rows, ProgressBar(-(-rows // per_chunk), verbose))
        bar = ProgressBar(1, verbose)
        answer, plan = self._client.ask(self._question(arrays), self._client.deadline(self._timeout_ms))
        outputs = plan.outputs(answer.tensors)
        bar.step()
        bar.close()
        return outputs

    def of_batches(self, batches: Iterable[Arrays], bar: ProgressBar) -> Any:
        """Return the outputs for batches that come one by one."""
        return self._joined((chunk for arrays in batches for chunk in self._chunks(arrays)), None, bar)

    def _chunks(self, arrays: Arrays) -> Iterator[tuple[Question, int]]:
        """Cut rows into questions; slices are views, so a chunk is cast and copied only when its turn comes."""
        rows = row_count(arrays)
        if rows is None:
            # Refused as it is, with the reason, by whoever checks shapes.
            yield self._question(arrays), 0
            return
        per_chunk = chunk_rows(self._plan, arrays, self._limits, self._batch_size)
        for start in range(0, max(rows, 1), per_chunk):
            stop = min(start + per_chunk, rows)
            yield self._question([array[start:stop] for array in arrays]), stop - start

    def _joined(self, chunks: Iterator[tuple[Question, int]], rows: int | None, bar: ProgressBar) -> Any:
        plan, joined = self._plan, Joined(rows)
        # Closed here and now, whatever is raised: what is under way is cancelled then, not when the error is forgotten.
        with closing(ask_all(self._client, chunks, self._timeout_ms)) as answers:
            for answer, chunk_size in answers:
                if not plan.fits(answer.tensors):
                    # Another version answered this chunk than the ones before.
                    raise unexpected_outputs(plan, answer.tensors)
                joined.add(plan.in_order(answer.tensors), chunk_size)
                bar.step()
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
