"""Chunks that go round between runs, claim stores, brokers and many hosts, in simulated time.

Owns the rules of that round. It measures nothing and waits for nothing.

A run keeps a window of chunks under way. Each is sent by the run, its rows put where they lie beside the broker (a
claim store, a file server), taken in and handed out by the broker, scored by one of a host's children, its answer taken
in and handed out by the broker, and collected by the run. Runs, stores and brokers do one thing at a time, first come,
first served (a Python process; Redis' one thread; a network line); half of what a chunk costs them is before it is
scored and half after. Hosts take chunks as their children are free, and each host scores at its own rate, however many
of its children ask: the daemon merges what they ask.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

#: Windows of chunks that are not counted, until nothing is left of all having begun at once, and that are.
WARM, COUNTED = 10, 10
#: A broker that idle workers keep busy has so much left at least.
_LEAST_SHARE = 1e-9


@dataclass(frozen=True)
class Load:
    """What a chunk costs, and how many hosts share the work.

    Attributes:
        hosts: How many.
        children: Of each host's worker.
        host_s: Seconds in which a host scores a chunk.
        run_s: Seconds of the run's processor for a chunk.
        broker_s: Of the broker's processor or line, whichever takes longer.
        idle_share: Of the broker, taken by workers that ask for work.
        store_s: Of a claim store or a file server; 0 where rows travel in messages.
        runs: Runs side by side, each with its part of the rows.
        brokers: Brokers, each with its part of the hosts.
        stores: Claim stores or file servers, each with its part of the hosts.
    """

    hosts: int
    children: int
    host_s: float
    run_s: float
    broker_s: float
    idle_share: float = 0.0
    store_s: float = 0.0
    runs: int = 1
    brokers: int = 1
    stores: int = 1

    @property
    def window(self) -> int:
        """Chunks under way: two for each child."""
        return 2 * self.hosts * self.children

    @property
    def limit(self) -> float:
        """Chunks per second that its slowest part lets through."""
        needed_s = (
            self.host_s / self.hosts,
            self.run_s / self.runs,
            self.store_s / self.stores,
            self.broker_s / self.brokers / max(_LEAST_SHARE, 1 - self.idle_share),
        )
        return 1 / max(needed_s)


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        chunks_per_s: All hosts together.
        broker_share: How busy each broker is, from 0 to 1.
        store_share: How busy each store is.
        run_share: How busy each run is.
        host_share: How busy each host is.
    """

    chunks_per_s: float
    broker_share: float
    store_share: float
    run_share: float
    host_share: float

    @property
    def wall(self) -> str:
        """What is busiest."""
        shares = {"hosts": self.host_share, "run": self.run_share, "store": self.store_share}
        shares["broker"] = self.broker_share
        return max(shares, key=lambda name: shares[name])


class _Line:
    """Some that do the same thing, each one thing at a time, with one waiting room: chunks are shared out evenly."""

    def __init__(self, count: int, needed_s: float, visits: int) -> None:
        self._free_at = [0.0] * count
        self._taken_s = 0.0
        self._step_s = needed_s / visits
        #: Chunks per second of all of them together.
        self.limit = count / needed_s if needed_s else math.inf

    def take(self, now_s: float) -> float:
        """Return when something that comes now is done."""
        end_s = max(now_s, self._free_at[0]) + self._step_s
        heapq.heapreplace(self._free_at, end_s)
        self._taken_s += self._step_s
        return end_s

    def busy_s(self, now_s: float) -> float:
        """Return how long it has been busy until now, each on average."""
        # Whoever is free later than now works until then.
        ahead_s = sum(max(0.0, free_at - now_s) for free_at in self._free_at)
        return (self._taken_s - ahead_s) / len(self._free_at)


def simulated(load: Load) -> Outcome:
    """Let chunks go round until their rate is steady."""
    free_share = max(_LEAST_SHARE, 1 - load.idle_share)
    run, broker = _Line(load.runs, load.run_s, 2), _Line(load.brokers, load.broker_s / free_share, 2)
    store, hosts = _Line(load.stores, load.store_s, 2), _Line(load.hosts, load.host_s, 1)
    round_trip = [line for line in (run, store, broker, hosts, broker, store, run) if line.limit < math.inf]
    shares = _busy_shares(round_trip, load.window)
    return Outcome(
        # By each line's work within the counted time they agree, but for what is half done at its ends.
        min(share * line.limit for line, share in shares.items()),
        load.idle_share + shares.get(broker, 0.0) * free_share,
        shares.get(store, 0.0),
        shares.get(run, 0.0),
        shares.get(hosts, 0.0),
    )


def _busy_shares(steps: list[_Line], window: int) -> dict[_Line, float]:
    # When a chunk comes to which step; in the order of time, so that whoever comes first is served first.
    events = [(0.0, number, 0) for number in range(window)]
    done, begun_s, now_s = 0, 0.0, 0.0
    before = dict.fromkeys(steps, 0.0)
    while done < (WARM + COUNTED) * window:
        now_s, number, step = events[0]
        if step == len(steps):
            done, step = done + 1, 0
            if done == WARM * window:
                begun_s, before = now_s, {line: line.busy_s(now_s) for line in before}
        heapq.heapreplace(events, (steps[step].take(now_s), number, step + 1))
    return {line: (line.busy_s(now_s) - busy_s) / (now_s - begun_s) for line, busy_s in before.items()}
