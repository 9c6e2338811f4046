"""Warm-up: runs every allowed batch size, so that no request is the first of its size.

Owns the order and the measuring. It knows numpy only. Loader thread, before the model is published as ready.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from predictd_proto.errors import ModelLoadError
from predictd_server.models.load_failure import reason_of
from predictd_server.runner import Arrays, LoadedSignature
from predictd_server.trials.failing_size import MADE_UP, FailingSize
from predictd_server.trials.timing import median_run_s

#: Seconds of timed runs per batch size and kind of input.
BUDGET_S = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """One run of the warm-up.

    Attributes:
        inputs: What with.
        what: What they are, for an error's text.
    """

    inputs: Arrays
    what: str


#: A batch size, and the shape of a row of each input.
Measured = tuple[int, tuple[tuple[int, ...], ...]]


def warm_up(signature: LoadedSignature, sizes: Sequence[int], lengths: Sequence[int] = ()) -> dict[Measured, float]:
    """Run a signature at every batch size, on made-up inputs of every length and on recorded ones.

    Args:
        signature: What to run. One that takes no made-up input and has no recorded one is left cold.
        sizes: Batch sizes in rows, ascending. A fixed axis 0 keeps its own length.
        lengths: The lengths that free axes are padded to; empty for the one that it was tried with.

    Returns:
        The median seconds of a run, by batch size and the shapes of the inputs' rows; of several inputs alike, of the
        slowest. Empty when there were none.

    Raises:
        ModelLoadError: A run failed.
    """
    durations_s: dict[Measured, float] = {}
    for size in sizes:
        for run in _runs(signature, size, lengths):
            try:
                seconds = median_run_s(signature.runner, run.inputs, BUDGET_S)
            except Exception as error:
                raise _failure(signature, run, size, durations_s, error) from error
            key = size, tuple(array.shape[1:] for array in run.inputs)
            durations_s[key] = max(seconds, durations_s.get(key, 0.0))
    return durations_s


def _runs(signature: LoadedSignature, size: int, lengths: Sequence[int]) -> Iterator[_Run]:
    make = signature.synthesise
    if make is not None:
        has_free_axes = any(None in spec.shape[1:] for spec in signature.spec.inputs)
        for length in lengths if lengths and has_free_axes else (None,):
            yield _Run(make(size, length=length), MADE_UP + (f" of length {length}" if length else ""))
    for recording in signature.recordings:
        yield _Run(recording.inputs(size), f"what was recorded ({recording.origin})")


def _failure(
    signature: LoadedSignature, run: _Run, size: int, durations_s: Mapping[Measured, float], error: Exception
) -> ModelLoadError:
    ran = [smaller for smaller, _ in durations_s if smaller < size]
    failing = FailingSize(size, ran[-1] if ran else None, run.what, error)
    text = f"signature {signature.spec.name!r}: {failing.text}: {reason_of(error)}; {failing.advice}"
    return ModelLoadError(text)
