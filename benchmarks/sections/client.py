"""The client's own cost: processor time per request of each way of asking, against a bare DEALER loop.

Owns which ways are compared with which bare loops, and in which order they take their turns. All of them ask one daemon
for one row of a tiny model, so what is compared is the asking process's own time, not the server's; libzmq's threads
are in it. Each way has a process that lives through all rounds and idles while another is measured (`loads/asking.py`).
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.loads.asking import Asker, Cost, Way, asking
from benchmarks.processes.daemon import daemon
from benchmarks.report.figures import Figure
from benchmarks.report.found import Found
from benchmarks.sections.stage import Run, model_file, models_made
from benchmarks.workloads import A

CROWD = 32

#: A way's turn in a round is short, as there are many: the whole section takes about a minute.
PART_OF_SECONDS = 0.5

#: Of every way of asking, to the plain bare loop with as many requests in flight.
GOAL = "<= 1.5"


@dataclass(frozen=True)
class Row:
    """A way of asking, and the bare loops whose turns come right before and after its own.

    Attributes:
        what: The way, in words.
        way: Arguments of `benchmarks.loads.asking_process` but for the endpoint.
        plain: The same for the bare DEALER loop in one thread with as many requests in flight: the goal's limit.
        like: The same for bare loops that wait in the way's own manner; None where those are the plain one.
    """

    what: str
    way: Way
    plain: Way
    like: Way | None = None

    def turns(self, number: int) -> list[Way]:
        """Return who is measured in a round, one right after the other; the order alternates."""
        turns = [self.plain, self.way, *([self.like] if self.like else [])]
        return turns[::-1] if number % 2 else turns


_N = str(CROWD)
_ONE = ("bare", "1")
_MANY = ("bare", _N)
_THREADS = ("bare threads", _N)
_GREENLETS = ("bare threads", _N, "gevent")
_TASK = ("bare tasks", "1")
_TASKS = ("bare tasks", _N)
#: Bare loops, in words.
_BARE = {
    _ONE: "bare DEALER loop, one request at a time",
    _MANY: f"bare DEALER loop, {_N} in flight",
    _THREADS: f"{_N} threads, each with a bare loop",
    _GREENLETS: f"{_N} gevent greenlets, each with a bare loop (zmq.green)",
    _TASK: "one asyncio task, one zmq.asyncio DEALER",
    _TASKS: f"{_N} asyncio tasks on one zmq.asyncio DEALER",
}
ROWS = (
    Row("Client.predict, one thread", ("client", "1"), _ONE),
    Row("RemoteModel.predict, one thread", ("model", "1"), _ONE),
    Row(f"Client.predict, {_N} threads", ("client", _N), _MANY, _THREADS),
    Row(f"Client.predict, {_N} greenlets", ("client", _N, "gevent"), _MANY, _GREENLETS),
    Row("AsyncClient.predict, one task", ("asyncio", "1"), _ONE, _TASK),
    Row(f"AsyncClient.predict, {_N} tasks", ("asyncio", _N), _MANY, _TASKS),
    Row(f"Client.submit, {_N} futures", ("submit", _N), _MANY),
    Row(f"Client.map, window of {_N}", ("map", _N), _MANY),
)

_Costs = dict[Way, list[Cost]]


def client(run: Run) -> Found:
    """Processor time per request of the asking process; one row `float32[1, 64]`, over ipc."""
    with models_made([A], run) as directory:
        run.say("starting the daemon")
        with daemon(directory, [model_file(directory, A)]) as served:
            return Found(measured(served.endpoint, run))


def measured(endpoint: str, run: Run, rows: Sequence[Row] = ROWS) -> list[Figure]:
    """Measure some ways at a daemon that is there and serves A."""
    ways = {way for row in rows for way in row.turns(0)}
    with contextlib.ExitStack() as stack:
        askers = {way: stack.enter_context(asking(way, endpoint)) for way in sorted(ways)}
        costs: list[_Costs] = [{way: [] for way in row.turns(0)} for row in rows]
        for number in run.numbers():
            for row, found in zip(rows, costs, strict=True):
                for way in row.turns(number):
                    if not askers[way].missing:
                        found[way].append(askers[way].measure(run.seconds * PART_OF_SECONDS))
    ratios = [figure for row, found in zip(rows, costs, strict=True) for figure in _ratios(row, found, askers)]
    return [*ratios, *(_bare(way, costs, askers[way]) for way in _BARE if way in askers)]


def _ratios(row: Row, costs: _Costs, askers: dict[Way, Asker]) -> Iterator[Figure]:
    for limit, goal in ((row.plain, GOAL), (row.like, "")):
        if limit is None:
            continue
        what = f"{row.what} / {_BARE[limit]}"
        missing = askers[row.way].missing or askers[limit].missing
        if missing:
            yield Figure(what, (), goal=goal, beside=missing)
            continue
        ratios = tuple(ours.cpu_us / bare.cpu_us for ours, bare in zip(costs[row.way], costs[limit], strict=True))
        yield Figure(what, ratios, goal=goal, beside=f"ours {_words(costs[row.way])}, bare {_words(costs[limit])}")


def _bare(way: Way, costs: list[_Costs], asker: Asker) -> Figure:
    own = [cost for found in costs for cost in found.get(way, ())]
    if asker.missing:
        return Figure(_BARE[way], (), unit="us", beside=asker.missing)
    return Figure(_BARE[way], tuple(cost.cpu_us for cost in own), unit="us", beside=_words(own))


def _words(costs: list[Cost]) -> str:
    cpu_us = statistics.median(cost.cpu_us for cost in costs)
    return f"{cpu_us:.0f} us at {statistics.median(cost.per_second for cost in costs):,.0f}/s"
