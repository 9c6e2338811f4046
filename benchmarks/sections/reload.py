"""Reload under load: what callers of a small model notice while the next version is loaded again and again.

Owns the windows that are compared. Each round alternates between windows without a load and loads, so that a machine
that gets slower does so for both; within a round the calls of all windows of a kind are taken together, as a load is
short. Nothing may fail.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import predictd
from benchmarks.processes.daemon import daemon
from benchmarks.processes.running import conversation
from benchmarks.report.figures import Figure
from benchmarks.report.found import Found
from benchmarks.sections.stage import Run, model_file, models_made
from benchmarks.workloads import A

#: Callers, and their requests a second, all together; 0 for as many as they get answered.
LOADS: dict[str, tuple[int, float]] = {
    "4 callers, 400 requests/s": (4, 400.0),
    "8 callers without a pause": (8, 0.0),
}
#: A round is so many turns long, without its loads.
TURN = 2.0
GOAL = "<= 2"

_Window = tuple[float, float]
_Tell = Callable[[list[_Window]], dict[str, Any]]


@dataclass(frozen=True)
class _Round:
    """The calls of one round, in milliseconds, and how long a load took, in seconds."""

    steady_ms: np.ndarray[Any, Any]
    during_ms: np.ndarray[Any, Any]
    load_s: float

    def ratio(self, percentile: float) -> float:
        return float(np.percentile(self.during_ms, percentile) / np.percentile(self.steady_ms, percentile))


def reload(run: Run) -> Found:
    """One row through a 64-128-10 MLP, while its file is loaded anew again and again."""
    with models_made([A], run) as directory:
        model = model_file(directory, A)
        run.say("starting the daemon")
        with daemon(directory, [model]) as served:
            return Found([figure for what in LOADS for figure in measured(served.endpoint, model, what, run)])


def measured(endpoint: str, model: Path, what: str, run: Run) -> Iterator[Figure]:
    found: list[_Round] = []
    with (
        conversation("benchmarks.loads.steady_callers", endpoint, *LOADS[what]) as callers,
        predictd.Client(endpoint) as client,
    ):
        time.sleep(run.seconds / 2)
        for _ in run.numbers():
            found.append(_round(client, model, callers.ask, run))
        failed = callers.ask([])
    yield Figure(
        f"{what}: p99 while a version is loaded / p99 else", _ratios(found, 99), goal=GOAL, beside=_beside(found)
    )
    yield Figure(f"{what}: p50 while a version is loaded / p50 else", _ratios(found, 50))
    loads = f"{len(found) * run.loads_a_round} loads, {statistics.mean(one.load_s for one in found):.2f} s each"
    yield Figure(f"{what}: failed requests", (float(failed["failed"]),), unit="", goal="<= 0", beside=loads)


def _round(client: predictd.Client, model: Path, tell: _Tell, run: Run) -> _Round:
    part_s = run.seconds * TURN / run.loads_a_round
    steady: list[_Window] = []
    during: list[_Window] = []
    for _ in range(run.loads_a_round):
        begin = time.monotonic()
        time.sleep(part_s)
        steady.append((begin, time.monotonic()))
        os.utime(model)
        begin = time.monotonic()
        client.load(A.name)
        during.append((begin, time.monotonic()))
        # The version before leaves meanwhile: part of neither.
        time.sleep(part_s / 2)
    load_s = statistics.mean(end - begin for begin, end in during)
    return _Round(np.array(tell(steady)["ms"]), np.array(tell(during)["ms"]), load_s)


def _ratios(found: list[_Round], percentile: float) -> tuple[float, ...]:
    return tuple(one.ratio(percentile) for one in found)


def _beside(found: list[_Round]) -> str:
    steady = statistics.median(float(np.percentile(one.steady_ms, 99)) for one in found)
    during = statistics.median(float(np.percentile(one.during_ms, 99)) for one in found)
    return f"p99 {during:.2f} ms while loading, {steady:.2f} ms else"
