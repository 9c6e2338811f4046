"""Callers in a process of their own, told when to begin: `python -m benchmarks.loads.caller_process`.

For each line it reads it has so many callers ask, each on and on as soon as it is answered, or, where a rate is given,
at times drawn at random (Poisson). Callers are threads, but of kinds that have them all in one (`calls.PIPE`, `TASKS`).
It answers with every call's duration and when it ended, both in seconds of the system's monotonic clock, and its own
processor time within the window.

A call of the open loop is due when the draw says so, and its duration counts from then: one that had to wait because
all callers were busy waited all the same. Otherwise a slow server would be asked less, and seem fast.
"""

from __future__ import annotations

import base64
import itertools
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.loads.calls import PIPE, RECEIPTS, TASKS, Call, Calls, Record, sleep_until
from benchmarks.loads.pipe import Pipe
from benchmarks.loads.tasks import Tasks
from benchmarks.workloads import WORKLOADS

#: What a thread of a turn does.
Work = Callable[[], Record]


class Callers:
    """The callers of this process, connected once for all turns."""

    def __init__(self) -> None:
        self.calls = Calls()
        self._pipes: dict[tuple[str, str], Pipe] = {}
        self._tasks: dict[tuple[str, str], Tasks] = {}

    def connect(self, turn: dict[str, Any]) -> None:
        """Connect and warm what a turn needs."""
        kind, endpoint, name = turn["kind"], turn["endpoint"], turn["workload"]
        key = endpoint, name
        if kind == PIPE and key not in self._pipes:
            self._pipes[key] = Pipe(self.calls.context, endpoint, WORKLOADS[name])
        elif kind == TASKS and key not in self._tasks:
            self._tasks[key] = Tasks(endpoint, WORKLOADS[name])
        elif kind not in (PIPE, TASKS):
            self.calls.of(kind, endpoint, name, turn["callers"])

    def works(self, turn: dict[str, Any]) -> list[Work]:
        """Return what each thread of a turn does."""
        kind, count, key = turn["kind"], turn["callers"], (turn["endpoint"], turn["workload"])
        first_s, end_s = turn["begin_s"] - turn["lead_s"], turn["end_s"]
        dues: Iterator[float] | None = None
        if turn["rate"]:
            dues = arrivals(turn["rate"], turn["lead_s"], turn["begin_s"], end_s, turn["seed"])
        if kind == PIPE:
            pipe = self._pipes[key]
            return [partial(pipe.open, dues) if dues else partial(pipe.closed, count, first_s, end_s)]
        if kind == TASKS:
            return [partial(self._tasks[key].closed, count, first_s, end_s)]
        calls = self.calls.of(kind, *key, count)
        return [partial(_open, call, dues) if dues else partial(_closed, call, first_s, end_s) for call in calls]


def main() -> None:
    """Ask whenever told to."""
    callers = Callers()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        turn = json.loads(line)
        callers.connect(turn)
        if "begin_s" not in turn:
            # Connected; now every process can be told a time that none of them will miss.
            print(json.dumps({"connected": True}), flush=True)
            continue
        execute_ms = callers.calls.execute_ms
        execute_ms.clear()
        answer = _asked(turn, callers.works(turn))
        if turn["kind"] == RECEIPTS:
            answer["execute_ms"] = execute_ms
        print(json.dumps(answer), flush=True)


def _asked(turn: dict[str, Any], works: list[Work]) -> dict[str, Any]:
    records: list[Record] = []
    failures: list[BaseException] = []

    def run(work: Work) -> None:
        try:
            records.append(work())
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    sleep_until(turn["begin_s"])
    used_s = time.process_time()
    sleep_until(turn["end_s"])
    used_s = time.process_time() - used_s
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    ends, took = (np.array([value for record in records for value in record[side]]) for side in (0, 1))
    return {"ends": _packed(ends), "took": _packed(took), "cpu_s": used_s}


def _closed(call: Call, first_s: float, end_s: float) -> Record:
    ends: list[float] = []
    took: list[float] = []
    sleep_until(first_s)
    before = time.monotonic()
    # Once at least: a turn without any answer has no figures.
    while not ends or before < end_s:
        call()
        after = time.monotonic()
        ends.append(after)
        took.append(after - before)
        before = after
    return ends, took


def _open(call: Call, dues: Iterator[float]) -> Record:
    ends: list[float] = []
    took: list[float] = []
    for due_s in dues:
        sleep_until(due_s)
        call()
        after = time.monotonic()
        ends.append(after)
        took.append(after - due_s)
    return ends, took


class _Shared:
    """Times that threads take from, each one once."""

    def __init__(self, times: list[float]) -> None:
        self._times = times
        # next() of a count is one operation of the interpreter: no lock needed.
        self._places = itertools.count()

    def __iter__(self) -> _Shared:
        return self

    def __next__(self) -> float:
        place = next(self._places)
        if place >= len(self._times):
            raise StopIteration
        return self._times[place]


def arrivals(rate: float, lead_s: float, begin_s: float, end_s: float, seed: int) -> Iterator[float]:
    """Draw when calls are due: times that threads may take from together, in order, each one once."""
    draw = np.random.default_rng(seed)
    expected = rate * (end_s - begin_s + lead_s)
    gaps = draw.exponential(1 / rate, int(expected + 6 * expected**0.5 + 20))
    times = begin_s - lead_s + np.cumsum(gaps)
    # One at least: where calls are rarer than windows are long, a window may have none.
    return _Shared([float(due) for due in times[times < end_s]] or [begin_s])


def _packed(values: NDArray[np.float64]) -> str:
    return base64.b64encode(values.astype("<f8").tobytes()).decode()


if __name__ == "__main__":
    main()
