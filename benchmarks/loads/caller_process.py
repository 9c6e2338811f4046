"""Callers in a process of their own, told when to begin: `python -m benchmarks.loads.caller_process`.

For each line it reads (`loads.Turn`) it has so many threads ask, each on and on as soon as it is answered, or, where a
rate is given, at times drawn at random (Poisson). It answers with every call's duration and when it ended, both in
seconds of the system's monotonic clock, and its own processor time within the window.

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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.loads.calls import RECEIPTS, Call, Calls

#: Of a thread in one turn: when each call ended, and how long it took.
Record = tuple[list[float], list[float]]


def main() -> None:
    """Ask whenever told to."""
    calls = Calls()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        turn = json.loads(line)
        made = calls.of(turn["kind"], turn["endpoint"], turn["workload"], turn["callers"])
        if "begin_s" not in turn:
            # Connected; now every process can be told a time that none of them will miss.
            print(json.dumps({"connected": len(made)}), flush=True)
            continue
        calls.execute_ms.clear()
        answer = _asked(turn, made)
        if turn["kind"] == RECEIPTS:
            answer["execute_ms"] = calls.execute_ms
        print(json.dumps(answer), flush=True)


def _asked(turn: dict[str, Any], calls: list[Call]) -> dict[str, Any]:
    begin_s, end_s = turn["begin_s"], turn["end_s"]
    if turn["rate"]:
        shared = arrivals(turn["rate"], turn["lead_s"], begin_s, end_s, turn["seed"])
        dues: list[Iterator[float]] = [shared for _ in calls]
        loop: Callable[..., None] = _open
    else:
        dues = [iter((begin_s - turn["lead_s"], end_s)) for _ in calls]
        loop = _closed
    records: list[Record] = [([], []) for _ in calls]
    failures: list[BaseException] = []

    def caller(place: int) -> None:
        try:
            loop(calls[place], dues[place], records[place])
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=caller, args=(place,)) for place in range(len(calls))]
    for thread in threads:
        thread.start()
    _sleep_until(begin_s)
    used_s = time.process_time()
    _sleep_until(end_s)
    used_s = time.process_time() - used_s
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    ends, took = (np.array([value for record in records for value in record[side]]) for side in (0, 1))
    return {"ends": _packed(ends), "took": _packed(took), "cpu_s": used_s}


def _closed(call: Call, due: Iterator[float], record: Record) -> None:
    ends, took = record
    _sleep_until(next(due))
    end_s = next(due)
    before = time.monotonic()
    # Once at least: a turn without any answer has no figures.
    while not ends or before < end_s:
        call()
        after = time.monotonic()
        ends.append(after)
        took.append(after - before)
        before = after


def _open(call: Call, due: Iterator[float], record: Record) -> None:
    ends, took = record
    for due_s in due:
        _sleep_until(due_s)
        call()
        after = time.monotonic()
        ends.append(after)
        took.append(after - due_s)


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


def _sleep_until(when_s: float) -> None:
    left_s = when_s - time.monotonic()
    if left_s > 0:
        time.sleep(left_s)


def _packed(values: NDArray[np.float64]) -> str:
    return base64.b64encode(values.astype("<f8").tobytes()).decode()


if __name__ == "__main__":
    main()
