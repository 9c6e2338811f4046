"""The search: tries one change of the settings after the other, and keeps what is faster by more than the noise.

Owns the order of measuring and what is kept. It starts no process itself: `start` does, so that it is tested without.
At most two trials are there at a time, which bounds the memory that is taken, and the two are measured in turns. Main
thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from statistics import median

from predictd_proto.errors import ModelLoadError, PredictdError
from predictd_server.tuning.batch_choice import Curve, choose_sizes, most_rows, padding_cost
from predictd_server.tuning.comparison import Gain, gain_of
from predictd_server.tuning.trial import Loaded, Start, Trial
from predictd_server.tuning.variant import Variant

#: Larger batches are not tried: they would hold up everybody else for long.
_MOST_ROWS = 1024
#: The next size is tried as long as the last one answered this many times as many rows a second as the one before...
_GROWTH = 1.02
#: ... or until so many in a row did not.
_PATIENCE = 2
_LEAST_ROUNDS = 3
_MOST_ROUNDS = 9
#: A full batch's latency has to fall to this part to be worth it, where the throughput stays the same.
_SHORTER = 0.8
#: As must the mean cost of padding.
_LESS_PADDING = 0.95


class Goal(Enum):
    """What a change is judged by."""

    BOTH = "both"
    THROUGHPUT = "throughput"
    LATENCY = "latency"


@dataclass(frozen=True, slots=True)
class Budget:
    """How much is measured.

    Attributes:
        seconds: For each candidate, about.
        latency_s: The longest that a full batch may take.
        most_bytes: The most that a batch's inputs may hold.
        most_rows: The most rows that a batch may have.
        is_latency_demanded: Whether batches that take longer are left out even where throughput is lost.
    """

    seconds: float
    latency_s: float
    most_bytes: int = 1 << 40
    most_rows: int = _MOST_ROWS
    is_latency_demanded: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a candidate.

    Attributes:
        variant: The candidate.
        runner: How the model was run with it; empty where it failed.
        rows_per_second: Its best throughput.
        p50_s: Its median latency for one row.
        throughput: Its gain of throughput over what was the best before it; None for the present settings.
        latency: Its gain of latency, larger is better; likewise.
        is_kept: Whether it is among the settings that were chosen.
        failure: Why it can't be used; empty where it can.
    """

    variant: Variant
    runner: str = ""
    rows_per_second: float = 0.0
    p50_s: float = 0.0
    throughput: Gain | None = None
    latency: Gain | None = None
    is_kept: bool = False
    failure: str = ""


@dataclass(frozen=True, slots=True)
class BatchChoice:
    """Which batch sizes were chosen.

    Attributes:
        before: Those that the model is served with as it is set.
        sizes: The best ones that were found.
        throughput: The gain of full batches over those before.
        latency: The gain of a full batch's duration, larger is better.
        padding: The mean cost of padding before, over that of the chosen sizes.
        is_kept: Whether they are better than those before, by more than the noise.
    """

    before: tuple[int, ...]
    sizes: tuple[int, ...]
    throughput: Gain
    latency: Gain
    padding: float
    is_kept: bool


@dataclass(frozen=True, slots=True)
class Found:
    """All that was found.

    Attributes:
        outcomes: In the order in which they were tried; the present settings first.
        best: The settings that were chosen, without batch sizes.
        durations_s: Median seconds of a run with these, by rows.
        batches: The batch sizes; None where rows are not merged.
    """

    outcomes: tuple[Outcome, ...]
    best: Variant
    durations_s: dict[int, float]
    batches: BatchChoice | None = None


@dataclass(slots=True)
class _Figures:
    """What one trial reached, by rounds."""

    rows_per_second: list[float] = field(default_factory=list)
    per_call: list[float] = field(default_factory=list)

    def add(self, by_rows: dict[int, float]) -> None:
        self.rows_per_second.append(max(rows / seconds for rows, seconds in by_rows.items()))
        self.per_call.append(1 / by_rows[min(by_rows)])


def search(
    start: Start,
    variants: Iterable[Variant],
    goal: Goal,
    budget: Budget,
    tell: Callable[[str], None] = lambda text: None,
    *,
    are_sizes_tried: bool = True,
) -> Found:
    """Try the candidates and the batch sizes.

    Args:
        start: Starts a trial.
        variants: The candidates, each tried on top of what was kept before it.
        goal: What they are judged by.
        budget: How much is measured.
        tell: Called with what is being done.
        are_sizes_tried: Whether batch sizes are chosen too.

    Raises:
        PredictdError: The model can't be served with the present settings.
    """
    best, outcomes = Variant(), []
    tell("loading the model as it is set")
    trial = start(best)
    try:
        present = trial.loaded
        sizes = _measured_sizes(present)
        outcomes.append(_alone(trial, sizes, budget))
        for variant in variants:
            tell(f"trying {variant}")
            try:
                challenger = start(best | variant)
            except PredictdError as error:
                outcomes.append(Outcome(variant, failure=error.message))
                continue
            loser = challenger
            try:
                _check_effect(challenger, variant)
                outcome = _compared(trial, challenger, variant, sizes, goal, budget)
                if outcome.is_kept:
                    loser, trial, best = trial, challenger, best | variant
            except PredictdError as error:
                outcome = Outcome(variant, failure=error.message)
            finally:
                loser.close()
            outcomes.append(outcome)
        tell("measuring batch sizes")
        durations_s, batches = _batches(trial, present, budget)
    finally:
        trial.close()
    return Found(tuple(outcomes), best, durations_s, batches if are_sizes_tried else None)


def _check_effect(trial: Trial, variant: Variant) -> None:
    """Refuse to measure what was tried and left out while the model was loaded."""
    idle = [note for note in trial.loaded.notes if any(f"{name} = " in note for name in variant.model)]
    if idle:
        raise ModelLoadError(idle[0])


def _measured_sizes(loaded: Loaded) -> list[int]:
    """Return the sizes that variants are compared at: one row, the largest, and one between."""
    if not loaded.sizes:
        return [1]
    return sorted({1, loaded.sizes[len(loaded.sizes) // 2], loaded.sizes[-1]})


def _alone(trial: Trial, sizes: list[int], budget: Budget) -> Outcome:
    by_rows = {rows: median(trial.durations_s(rows, budget.seconds / len(sizes) / 2)) for rows in sizes}
    best = max(rows / seconds for rows, seconds in by_rows.items())
    return Outcome(Variant(), trial.loaded.runner, best, by_rows[min(by_rows)])


def _compared(
    trial: Trial, challenger: Trial, variant: Variant, sizes: list[int], goal: Goal, budget: Budget
) -> Outcome:
    before, after = _Figures(), _Figures()
    rounds = _rounds(budget.seconds)
    seconds = budget.seconds / rounds / len(sizes) / 2
    for number in range(rounds):
        pair = [(trial, before), (challenger, after)]
        # In turns who comes first: whatever one leaves behind in caches and clocks the other one meets.
        for each, figures in pair if number % 2 else reversed(pair):
            figures.add({rows: median(each.durations_s(rows, seconds)) for rows in sizes})
    throughput, latency = (
        gain_of(before.rows_per_second, after.rows_per_second),
        gain_of(before.per_call, after.per_call),
    )
    return Outcome(
        variant,
        challenger.loaded.runner,
        median(after.rows_per_second),
        1 / median(after.per_call),
        throughput,
        latency,
        is_kept=_is_better(throughput, latency, goal),
    )


def _is_better(throughput: Gain, latency: Gain, goal: Goal) -> bool:
    if goal is Goal.THROUGHPUT:
        return throughput.is_certain
    if goal is Goal.LATENCY:
        return latency.is_certain
    is_any = throughput.is_certain or latency.is_certain
    return is_any and not throughput.is_loss and not latency.is_loss


def _rounds(seconds: float) -> int:
    return min(max(_LEAST_ROUNDS, round(seconds)), _MOST_ROUNDS)


def _batches(trial: Trial, present: Loaded, budget: Budget) -> tuple[dict[int, float], BatchChoice | None]:
    if not trial.loaded.sizes:
        return {1: median(trial.durations_s(1, budget.seconds / 2))}, None
    sizes = _grown_sizes(trial, budget)
    rounds = _rounds(budget.seconds)
    by_size: dict[int, list[float]] = {size: [] for size in sizes}
    for number in range(rounds):
        for size in sizes if number % 2 else reversed(sizes):
            by_size[size].append(median(trial.durations_s(size, budget.seconds / rounds / len(sizes))))
    durations_s = {size: median(taken) for size, taken in by_size.items()}
    return durations_s, _chosen(by_size, durations_s, present, budget)


def _grown_sizes(trial: Trial, budget: Budget) -> list[int]:
    """Return powers of two and the present sizes, as far as larger batches bring anything and are allowed."""
    present = trial.loaded.sizes
    sizes, best, patience, size = list(present), 0.0, _PATIENCE, 1
    while size <= budget.most_rows and size * trial.loaded.row_bytes <= max(budget.most_bytes, trial.loaded.row_bytes):
        try:
            seconds = median(trial.durations_s(size, budget.seconds / 20))
        except PredictdError:
            break
        if size > present[-1] and seconds > budget.latency_s:
            break
        sizes.append(size)
        patience = _PATIENCE if size / seconds > _GROWTH * best else patience - 1
        best = max(best, size / seconds)
        if size >= present[-1] and patience <= 0:
            break
        size *= 2
    return sorted(set(sizes))


def _chosen(
    by_size: dict[int, list[float]], durations_s: dict[int, float], present: Loaded, budget: Budget
) -> BatchChoice:
    curve = Curve(durations_s)
    most = most_rows(curve, budget.latency_s)
    sizes, before = choose_sizes(curve, most), present.sizes
    top = before[-1]
    throughput = gain_of([top / each for each in by_size[top]], [most / each for each in by_size[most]])
    latency = gain_of([1 / each for each in by_size[top]], [1 / each for each in by_size[most]])
    both = min(top, most)
    padding = padding_cost(curve, before, both) / padding_cost(curve, sizes, both)
    is_shorter = latency.low * _SHORTER > 1.0 or (most == top and padding * _LESS_PADDING > 1.0)
    is_too_long = budget.is_latency_demanded and curve.duration_s(top) > budget.latency_s
    is_kept = throughput.is_certain or is_too_long or (is_shorter and not throughput.is_loss)
    return BatchChoice(before, sizes, throughput, latency, padding, is_kept)
