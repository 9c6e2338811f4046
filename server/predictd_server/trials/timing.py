"""Timing of runs, within a budget.

Owns the number of repetitions. Loader thread, while other threads and processes may disturb it.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from time import perf_counter

from predictd_server.runner import Arrays, Runner

MOST_RUNS = 21
LEAST_RUNS = 3
#: Even the least number of runs is not worth more than this many budgets.
MOST_BUDGETS = 4


def run_durations_s(runners: Sequence[Runner], inputs: Arrays, budget_s: float) -> list[list[float]]:
    """Return the seconds of some runs of each runner, taken in turns so that a disturbance meets them all.

    Each runs once before, which is not counted: a first run may trace, allocate and pick kernels.

    Args:
        runners: What to run.
        inputs: What with.
        budget_s: Stop after about this many seconds per runner, once each ran `LEAST_RUNS` times; slow ones run less.
    """
    for runner in runners:
        runner.run(inputs)
    durations: list[list[float]] = [[] for _ in runners]
    rounds, spent_s = 0, 0.0
    while rounds < MOST_RUNS and spent_s < (MOST_BUDGETS if rounds < LEAST_RUNS else 1) * budget_s * len(runners):
        for runner, taken in zip(runners, durations, strict=True):
            started = perf_counter()
            runner.run(inputs)
            taken.append(perf_counter() - started)
            spent_s += taken[-1]
        rounds += 1
    return durations


def median_run_s(runner: Runner, inputs: Arrays, budget_s: float) -> float:
    """Return the median seconds of a run: what a caller may expect."""
    return median(run_durations_s([runner], inputs, budget_s)[0])


def shortest_runs_s(runners: Sequence[Runner], inputs: Arrays, budget_s: float) -> list[float]:
    """Return the shortest seconds of each runner: what it can do, whatever else the machine was doing."""
    return [min(taken) for taken in run_durations_s(runners, inputs, budget_s)]
