"""The report: what was tried and found, as a table and as comments for the configuration.

Owns the words. Pure; any thread.
"""

from __future__ import annotations

from collections.abc import Sequence

from predictd_server.tuning.found import BatchChoice, Found, Outcome
from predictd_server.tuning.variant import Variant, shown

_MS = 1e-3

_HEADER = ("setting", "runs as", "rows/s", "p50 of 1 row", "throughput", "latency", "")


def outcome_table(found: Found) -> str:
    """Return a line for each candidate."""
    rows = [_HEADER, *(_row(outcome, str(outcome.variant)) for outcome in found.outcomes)]
    if found.confirmed is not None:
        rows.append(_row(found.confirmed, "all that is kept, once more"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    outcomes = found.outcomes if found.confirmed is None else (*found.outcomes, found.confirmed)
    failures = [f"{outcome.variant}: {outcome.failure}" for outcome in outcomes if outcome.failure]
    return "\n".join([*lines, *failures])


def _row(outcome: Outcome, name: str) -> tuple[str, ...]:
    if outcome.failure:
        return (name, "-", "-", "-", "-", "-", "can't be used")
    gains = tuple("-" if gain is None else str(gain) for gain in (outcome.throughput, outcome.latency))
    mark = "kept" if outcome.is_kept else "advised" if outcome.is_advice else ""
    return (name, outcome.runner, f"{outcome.rows_per_second:,.0f}", _time(outcome.p50_s), *gains, mark)


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} us" if seconds < _MS else f"{seconds * 1e3:,.2f} ms"


def batches_line(batches: BatchChoice) -> str:
    """Return what was found about batch sizes, in words."""
    before = f"batch sizes now: {shown(batches.before)}"
    if not batches.is_kept:
        return f"{before}\nno others are better by more than the noise: they stay"
    return f"{before}\nbetter: {shown(batches.sizes)}, {_batch_gains(batches)}"


def _batch_gains(batches: BatchChoice) -> str:
    return (
        f"throughput {batches.throughput}, a full batch's latency {batches.latency}, "
        f"padding costs {1 - 1 / batches.padding:.0%} less"
    )


def chosen(found: Found) -> Variant:
    """Return all settings that were chosen, batch sizes too."""
    if found.batches is None or not found.batches.is_kept:
        return found.best
    return found.best | Variant(model={"batch_sizes": found.batches.sizes})


def comments(found: Found, where: str) -> dict[str, str]:
    """Return what to say of each setting that was chosen.

    Args:
        found: What was found.
        where: When, and on which machine.
    """
    said: dict[str, str] = {}
    for outcome in found.outcomes:
        if outcome.is_kept or outcome.is_advice:
            text = f"predictd tune: throughput {outcome.throughput}, latency {outcome.latency}; {where}"
            said.update(dict.fromkeys([*outcome.variant.server, *outcome.variant.model], text))
    if found.batches is not None and found.batches.is_kept:
        said["batch_sizes"] = f"predictd tune: {_batch_gains(found.batches)}; {where}"
    return said


def table_of_sizes(durations_s: Sequence[tuple[int, float]]) -> str:
    """Return the measured sizes as comma-separated values, for other programs."""
    lines = ["rows,rows_per_second,batch_ms"]
    lines += [f"{rows},{rows / seconds:.1f},{seconds * 1000:.4f}" for rows, seconds in durations_s]
    return "\n".join([*lines, ""])
