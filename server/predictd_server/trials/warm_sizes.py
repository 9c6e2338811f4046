"""The batch sizes that a signature is served with: those that pay, each of them warm.

Owns the order measure -> leave out -> look again -> put in between, or go further. The arithmetic is `ladder.py`'s.
Loader thread, before the model is published as ready.
"""

from __future__ import annotations

from collections.abc import Mapping

from predictd_proto.errors import ModelLoadError
from predictd_server.models.settings import ModelSettings
from predictd_server.runner import CompilingRunner, LoadedSignature
from predictd_server.serving.ladder import SHORT_S, paying_sizes, pays_further, sizes_between
from predictd_server.trials.warmup import Measured, warm_up


def warm_sizes(
    signature: LoadedSignature,
    sizes: tuple[int, ...],
    settings: ModelSettings,
    *,
    further: tuple[int, ...] = (),
    known: tuple[int, ...] = (),
    is_most_kept: bool = False,
) -> tuple[tuple[int, ...], dict[Measured, float]]:
    """Return the sizes that pay, and the median seconds of a run by size and the shapes of the rows.

    Args:
        signature: What to run.
        sizes: The sizes to try, ascending; empty where rows of several requests can't share a run.
        settings: Its model's. Sizes that these name are taken as they are.
        further: Sizes beyond them, ascending, that are tried where runs are short.
        known: The sizes that were found for it before: taken as they are too, for a machine that is busy at one load
            and not at the next finds others. Empty for a first load.
        is_most_kept: Whether somebody has set the largest size, so that none is left out.

    Raises:
        ModelLoadError: A run failed.
    """
    if sizes and known:
        return _warm_known(signature, known, sizes[-1], settings)
    measured_s = warm_up(signature, sizes or (1,), settings.lengths)
    if not sizes or not measured_s or settings.batch_sizes:
        return sizes, measured_s
    paying = sizes if is_most_kept else paying_sizes(sizes, _slowest_s(measured_s))
    if paying != sizes:
        # Whatever disturbed the larger ones the first time will hardly do so twice; from the largest down, so that a
        # machine which gets slower meanwhile is not taken for sizes that do.
        again_s = warm_up(signature, sizes[len(paying) - 1 :][::-1], settings.lengths)
        measured_s.update({key: min(measured_s[key], seconds) for key, seconds in again_s.items()})
        paying = paying_sizes(sizes, _slowest_s(measured_s))
    more: tuple[int, ...] = ()
    if not isinstance(signature.runner, CompilingRunner):  # each size more would be one more program
        more = sizes_between(paying, _slowest_s(measured_s))
        measured_s.update(warm_up(signature, more, settings.lengths))
        if paying == sizes:
            more += _warm_further(signature, sizes[-1], further, measured_s, settings)
    kept = tuple(sorted((*paying, *more)))
    return kept, {key: measured_s[key] for key in sorted(measured_s) if key[0] in kept}


def _warm_known(
    signature: LoadedSignature, known: tuple[int, ...], largest: int, settings: ModelSettings
) -> tuple[tuple[int, ...], dict[Measured, float]]:
    """Warm the sizes that were found before; those beyond the largest that was asked for may fail by now."""
    try:
        return known, warm_up(signature, known, settings.lengths)
    except ModelLoadError:
        asked_for = tuple(size for size in known if size <= largest)
        if asked_for == known:
            raise
        return asked_for, warm_up(signature, asked_for, settings.lengths)


def _warm_further(
    signature: LoadedSignature,
    largest: int,
    further: tuple[int, ...],
    measured_s: dict[Measured, float],
    settings: ModelSettings,
) -> tuple[int, ...]:
    """Return the sizes beyond the largest that are worth having, each measured while the one before it is short."""
    kept: list[int] = []
    largest_s = _slowest_s(measured_s)[largest]
    for size in further:
        if largest_s >= SHORT_S:
            break
        try:
            size_measured_s = warm_up(signature, (size,), settings.lengths)
        except ModelLoadError:
            break  # nobody asked for so many rows
        size_s = _slowest_s(size_measured_s)[size]
        if not pays_further(size, size_s, largest, largest_s):
            break
        measured_s.update(size_measured_s)
        kept.append(size)
        largest, largest_s = size, size_s
    return tuple(kept)


def _slowest_s(measured_s: Mapping[Measured, float]) -> dict[int, float]:
    """Return the seconds of each size's slowest shape."""
    slowest_s: dict[int, float] = {}
    for (size, _), seconds in measured_s.items():
        slowest_s[size] = max(seconds, slowest_s.get(size, 0.0))
    return slowest_s
