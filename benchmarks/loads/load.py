"""A load: what some callers achieved within a window, and what it cost whom.

Owns the window. All callers begin before it and end after it, so that ramps at either end are in no figure. The rate is
taken between the last answer before the window and the last within it: where answers come in batches of 64, counting
those within two arbitrary times would be off by up to a batch on either side.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.processes.cpu import cpu_s
from benchmarks.processes.running import Conversation, conversation

#: Calling processes; callers are shared out among them.
PROCESSES = 2
#: From telling the processes to the first call.
START_S = 0.03
#: Callers ask for this long before anything counts (no longer than the window), or as long as a call takes.
LEAD_S = 0.12

#: Of what an open loop offers. Answers come in batches: a window of a thousand is off by some of them at either end.
LEAST_SHARE = 0.9

_seeds = itertools.count(1)


@dataclass(frozen=True)
class Load:
    """What some callers achieved.

    Attributes:
        per_second: Answers per second, all callers together.
        p50_us: Median time of a call in microseconds.
        p99_us: Its 99th percentile.
        client_cpu_us: Processor time of the calling processes per answer, in microseconds.
        server_cpu_us: The same of the process that was asked.
        answers: How many calls the times are of.
        offered_per_second: Of an open loop: how many calls a second were due.
    """

    per_second: float
    p50_us: float
    p99_us: float
    client_cpu_us: float
    server_cpu_us: float
    answers: int = 0
    offered_per_second: float = 0.0

    @property
    def is_overloaded(self) -> bool:
        """Whether an open loop asked for more than was answered: its times are how long the window was, and no more."""
        return self.per_second < LEAST_SHARE * self.offered_per_second


@dataclass(frozen=True)
class Target:
    """Who is asked for what, and how.

    Attributes:
        kind: One of the kinds of `calls.py`.
        endpoint: Where it listens.
        pid: Its process, whose processor time is read.
        workload: The workload's name.
    """

    kind: str
    endpoint: str
    pid: int
    workload: str


@dataclass(frozen=True)
class Answers:
    """Every answer of one process in one turn, as it told them; times of the monotonic clock in seconds."""

    ends: NDArray[np.float64]
    took: NDArray[np.float64]
    cpu_s: float
    execute_ms: Sequence[float] = ()


class Crew:
    """The calling processes, which live through all rounds and idle while somebody else is measured."""

    def __init__(self, members: list[Conversation]) -> None:
        self.members = members
        # How long a call took last, per load: the next such turn begins so much before its window.
        self._took_s: dict[tuple[Target, int], float] = {}

    def measure(self, target: Target, callers: int, seconds: float, *, rate: float = 0.0) -> Load:
        """Have callers ask for some seconds.

        Args:
            target: Whom and how.
            callers: How many at once, shared out among the processes.
            seconds: The window.
            rate: Calls per second of all together, at random times; 0 for a closed loop.
        """
        shares = [share for share in _shares(callers, len(self.members)) if share]
        asked = [
            (member, {**_words(target), "callers": share, "rate": rate * share / callers})
            for member, share in zip(self.members, shares, strict=False)
        ]
        lead_s = max(self._took_s.get((target, callers), 0.0), min(LEAD_S, seconds))
        parts, window, server_s = self._turn(asked, target.pid, seconds, lead_s)
        load = _load(parts, window, server_s, is_open=rate > 0)
        self._took_s[target, callers] = load.p50_us / 1e6
        return load

    def alone(self, target: Target, callers: int, seconds: float) -> tuple[Load, Answers]:
        """Have one process ask with all its callers, while the others are idle."""
        [found] = Crew(self.members[:1]).beside([target], callers, seconds)
        return found

    def beside(self, targets: Sequence[Target], callers: int, seconds: float) -> list[tuple[Load, Answers]]:
        """Have each process ask for something else at the same time, with so many callers each."""
        asked = [
            (member, {**_words(target), "callers": callers, "rate": 0.0})
            for member, target in zip(self.members, targets, strict=True)
        ]
        parts, window, server_s = self._turn(asked, targets[0].pid, seconds, min(LEAD_S, seconds))
        return [(_load([part], window, server_s, is_open=False), part) for part in parts]

    def _turn(
        self, asked: list[tuple[Conversation, dict[str, Any]]], pid: int, seconds: float, lead_s: float
    ) -> tuple[list[Answers], tuple[float, float], float]:
        for member, words in asked:
            member.ask(words)
        begin_s = time.monotonic() + START_S + lead_s
        end_s = begin_s + seconds
        for member, words in asked:
            member.tell({**words, "begin_s": begin_s, "end_s": end_s, "lead_s": lead_s, "seed": next(_seeds)})
        time.sleep(max(0.0, begin_s - time.monotonic()))
        used_s = cpu_s(pid)
        time.sleep(max(0.0, end_s - time.monotonic()))
        server_s = cpu_s(pid) - used_s
        parts = [_answers(member.hear(seconds)) for member, _ in asked]
        return parts, (begin_s, end_s), server_s


@contextlib.contextmanager
def crew(count: int = PROCESSES) -> Iterator[Crew]:
    """Run calling processes."""
    with contextlib.ExitStack() as stack:
        yield Crew([stack.enter_context(conversation("benchmarks.loads.caller_process")) for _ in range(count)])


def _shares(callers: int, processes: int) -> list[int]:
    return [callers // processes + (place < callers % processes) for place in range(processes)]


def _words(target: Target) -> dict[str, str]:
    return {"kind": target.kind, "endpoint": target.endpoint, "workload": target.workload}


def _answers(told: dict[str, Any]) -> Answers:
    ends, took = (np.frombuffer(base64.b64decode(told[name]), "<f8") for name in ("ends", "took"))
    return Answers(ends, took, float(told["cpu_s"]), told.get("execute_ms", ()))


def _load(parts: list[Answers], window: tuple[float, float], server_s: float, *, is_open: bool) -> Load:
    begin_s, end_s = window
    ends, took = np.concatenate([part.ends for part in parts]), np.concatenate([part.took for part in parts])
    # Of an open loop those count that were due within the window, however late they were answered.
    counted = ends - took if is_open else ends
    within = took[(counted >= begin_s) & (counted < end_s)]
    if not len(within):
        within = took
    per_second = rate_between(np.sort(ends), begin_s, end_s)
    answers = per_second * (end_s - begin_s)
    return Load(
        per_second=per_second,
        p50_us=float(np.percentile(within, 50)) * 1e6,
        p99_us=float(np.percentile(within, 99)) * 1e6,
        client_cpu_us=sum(part.cpu_s for part in parts) * 1e6 / answers,
        server_cpu_us=server_s * 1e6 / answers,
        answers=len(within),
        offered_per_second=len(within) / (end_s - begin_s) if is_open else 0.0,
    )


def rate_between(ends: NDArray[np.float64], begin_s: float, end_s: float) -> float:
    """Return answers per second between the last one before a window and the last one within it.

    Args:
        ends: When each came, sorted.
        begin_s: The window's begin.
        end_s: Its end; where too few came before it for a rate, all that came count.
    """
    first, last = np.searchsorted(ends, begin_s) - 1, np.searchsorted(ends, end_s) - 1
    if first >= 0 and last > first:
        return float((last - first) / (ends[last] - ends[first]))
    return len(ends) / max(float(ends[-1]) - begin_s, 1e-9)
