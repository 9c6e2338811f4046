"""Failing sizes: a graph that takes some numbers of rows and fails with others, told from one that takes nothing.

Owns the search, and the words for it. It knows numpy only. Loader thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from predictd_proto.quantities import counted
from predictd_proto.tensors import TensorSpec
from predictd_server.runner import Arrays
from predictd_server.trials.probe import steady_probes
from predictd_server.trials.recording import Recording

MADE_UP = "made-up inputs"


@dataclass(frozen=True, slots=True, eq=False)
class FailingSize:
    """What a graph fails with.

    Attributes:
        rows: The number of rows.
        ran: A number of rows of the same kind that it took: the next smaller one, else a larger one; None for none.
        what: What the rows were, with their shapes.
        error: What it raised.
    """

    rows: int
    ran: int | None
    what: str
    error: Exception

    @property
    def text(self) -> str:
        """Which number of rows it takes, and which it doesn't."""
        if self.ran is None:
            return f"it fails with {counted(self.rows, 'row')} of {self.what}"
        if self.ran < self.rows:
            return f"it runs with {counted(self.ran, 'row')} and fails with {self.rows} rows of {self.what}"
        return f"it fails with {counted(self.rows, 'row')} and runs with {self.ran} rows of {self.what}"

    @property
    def advice(self) -> str:
        """What to do."""
        if self.ran is None:
            return "it would fail for every request: put the model right"
        if self.ran < self.rows:
            return f"set max_batch_size = {self.ran}"
        return f"requests may have {counted(self.rows, 'row')}: save a model that takes any number of them"


def find_failing_size(
    run: Callable[[Arrays], Arrays],
    specs: Sequence[TensorSpec],
    ladder: Sequence[int],
    recordings: Sequence[Recording] = (),
) -> FailingSize | None:
    """Return the number of rows at which a graph fails that takes the same rows in another number.

    Every row is the same one, so that it can't be the values of some row that it fails with.

    Args:
        run: Runs the graph.
        specs: Its inputs.
        ladder: The numbers of rows to try, ascending.
        recordings: Requests recorded for it.

    Returns:
        What it fails with; None where no row was found that it takes in any number and not in another.
    """
    for make, what in _rows_alike(tuple(specs), recordings):
        ran: int | None = None
        failed: tuple[int, Exception] | None = None
        for size in ladder:
            try:
                run(make(size))
            except Exception as error:
                failed = failed or (size, error)
            else:
                ran = size
            if failed is not None and ran is not None:
                shown = ", ".join(map(_shown, specs, make(failed[0])))
                return FailingSize(failed[0], ran, f"{what} ({shown})", failed[1])
    return None


def _rows_alike(
    specs: tuple[TensorSpec, ...], recordings: Sequence[Recording]
) -> Iterator[tuple[Callable[[int], Arrays], str]]:
    for recording in recordings:
        yield recording.first_row().inputs, f"what was recorded ({recording.origin})"
    for probe in steady_probes(specs):
        yield probe.inputs, MADE_UP


def _shown(spec: TensorSpec, array: object) -> str:
    return f"{spec.name} {spec.dtype}{list(getattr(array, 'shape', ()))}"
