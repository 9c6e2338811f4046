"""The search for batch sizes: which ones there are to choose from, and whether the chosen ones are better.

Owns the order of measuring. Main thread.
"""

from __future__ import annotations

from statistics import median

from predictd_proto.errors import PredictdError
from predictd_server.tuning.batch_choice import Curve, choose_sizes, most_rows, padding_cost
from predictd_server.tuning.comparison import gain_of
from predictd_server.tuning.found import BatchChoice, Budget, Goal
from predictd_server.tuning.trial import Loaded, Trial

#: The next size is tried as long as the last one answered this many times as many rows a second as the one before...
_GROWTH = 1.02
#: ... or until so many in a row did not.
_PATIENCE = 2
#: A full batch's latency has to fall to this part to be worth it, where the throughput stays the same.
_SHORTER = 0.8
#: As must the mean cost of padding.
_LESS_PADDING = 0.95


def search_sizes(
    trial: Trial, present: Loaded, goal: Goal, budget: Budget
) -> tuple[dict[int, float], BatchChoice | None]:
    """Return median seconds of a run by rows, and the choice; None where rows are not merged.

    Args:
        trial: What has the settings that were chosen.
        present: What was loaded with the present settings.
        goal: What the choice is judged by.
        budget: How much is measured.

    Raises:
        PredictdError: No run succeeded.
    """
    if not trial.loaded.sizes or not present.sizes:
        return {1: median(trial.durations_s(1, budget.seconds / 2))}, None
    sizes = _grown_sizes(trial, present, budget)
    by_size = _in_turns(trial, sizes, budget)
    durations_s = {size: median(taken) for size, taken in by_size.items()}
    return durations_s, _chosen(trial, durations_s, present, goal, budget)


def _in_turns(trial: Trial, sizes: list[int], budget: Budget) -> dict[int, list[float]]:
    rounds = budget.rounds()
    by_size: dict[int, list[float]] = {size: [] for size in sizes}
    for number in range(rounds):
        for size in sizes if number % 2 else reversed(sizes):
            by_size[size].append(median(trial.durations_s(size, budget.seconds / rounds / len(sizes))))
    return by_size


def _grown_sizes(trial: Trial, present: Loaded, budget: Budget) -> list[int]:
    """Return the present sizes and powers of two, as far as larger batches bring anything, are allowed and run."""
    # Which sizes pay is measured at each load, so that two trials may have different ones.
    given = {*present.sizes, *trial.loaded.sizes}
    top, most_bytes = max(given), max(budget.most_bytes, trial.loaded.row_bytes)
    powers = {1 << power for power in range(budget.most_rows.bit_length())}
    powers = {size for size in powers if size <= budget.most_rows and size * trial.loaded.row_bytes <= most_bytes}
    sizes: list[int] = []
    best, patience = 0.0, _PATIENCE
    for size in sorted(given | powers):
        try:
            seconds = median(trial.durations_s(size, budget.seconds / 20))
        except PredictdError:
            if size > top or not sizes:
                break
            continue
        if size > top and seconds > budget.latency_s:
            break
        sizes.append(size)
        if size in powers:
            patience = _PATIENCE if size / seconds > _GROWTH * best else patience - 1
            best = max(best, size / seconds)
        if size >= top and patience <= 0:
            break
    return sizes or [min(given)]


def _chosen(trial: Trial, durations_s: dict[int, float], present: Loaded, goal: Goal, budget: Budget) -> BatchChoice:
    curve = Curve(durations_s)
    most = most_rows(curve, budget.latency_s)
    sizes, before = choose_sizes(curve, most), present.sizes
    top = max((size for size in before if size in durations_s), default=most)
    # In rounds of their own: what made a size look best in those above is no proof.
    fresh = {top: [1.0]} if most == top else _in_turns(trial, [top, most], budget)
    throughput = gain_of([top / each for each in fresh[top]], [most / each for each in fresh[most]])
    latency = gain_of([1 / each for each in fresh[top]], [1 / each for each in fresh[most]])
    both = min(top, most)
    padding = padding_cost(curve, before, both) / padding_cost(curve, sizes, both)
    is_less_padded = most == top and padding * _LESS_PADDING > 1.0
    is_shorter = latency.low * _SHORTER > 1.0 and not (goal is not Goal.LATENCY and throughput.is_loss)
    is_better = {
        Goal.THROUGHPUT: throughput.is_certain,
        Goal.LATENCY: is_shorter,
        Goal.BOTH: throughput.is_certain or is_shorter,
    }[goal]
    is_too_long = budget.is_latency_demanded and curve.duration_s(top) > budget.latency_s
    return BatchChoice(before, sizes, throughput, latency, padding, is_kept=is_better or is_less_padded or is_too_long)
