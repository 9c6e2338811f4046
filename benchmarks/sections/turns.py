"""A workload's turns in one round: every load and every limit, one after the other.

Owns their order. What is compared stands side by side, and every other round goes backwards: a machine that gets slower
meanwhile does so for both. Before the first round all of them are run once, shortly, and not counted: that connects,
warms, and tells how long before its window a load has to begin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.loads import calls
from benchmarks.loads.load import Target
from benchmarks.sections.measured import (
    CLIENT,
    CONCRETE,
    ECHO,
    MEMCPY,
    OPEN,
    PREDICT,
    REMOTE_MODEL,
    SESSION,
    WIRE,
    Key,
    Limit,
    Measured,
)
from benchmarks.sections.stage import Run, Stage
from benchmarks.workloads import A, Workload

#: Of the capacity that the same round has measured, in percent.
SHARES = (50, 80, 95)
#: Capacity is what so many callers get, or as many as there are if they are fewer.
CROWD = 64
#: All batch sizes of a limit together take as long as so many turns.
LIMIT_TURNS = 1.0
WARM_UP = 0.25
#: Larger batches of a limit are left out: 128 images of 12 MB would be 1.6 GB, and a turn half a minute.
MOST_BATCH_BYTES = 128 << 20

Turn = tuple[Key, Callable[[float], None]]


class WorkloadTurns:
    """Measures one workload."""

    def __init__(self, stage: Stage, workload: Workload, run: Run, title: str) -> None:
        self.measured = Measured(title)
        self._stage = stage
        self._workload = workload
        self._run = run
        self._callers = [count for count in workload.callers if count <= run.most_callers]
        self._capacity = 0.0
        self.measured.missing.update(stage.models.ready["missing"][workload.name])

    @property
    def crowd(self) -> int:
        """The callers whose rate is the capacity."""
        return max(count for count in self._callers if count <= CROWD)

    def measure(self) -> Measured:
        """Take all turns in all rounds."""
        turns = list(self._turns())
        seconds = self._run.seconds * self._workload.turn
        self._run.say("warming up")
        for _, turn in turns:
            turn(seconds * WARM_UP)
        self.measured.loads.clear()
        self.measured.limits.clear()
        for number in self._run.numbers():
            for _, turn in turns if number % 2 == 0 else _backwards(turns):
                turn(seconds)
        return self.measured

    def _turns(self) -> Iterator[Turn]:
        yield from self._limits(CONCRETE, (1,))
        yield from self._limits(SESSION, (1,))
        yield from self._limits(PREDICT, (1,))
        yield from self._limits(MEMCPY, (1,))
        for callers in self._callers:
            if callers == self.crowd:
                most = MOST_BATCH_BYTES // self._workload.row_bytes
                many = tuple(rows for rows in self._run.batches if 1 < rows <= most)
                yield from self._limits(CONCRETE, many)
                yield from self._limits(SESSION, many)
            yield from self._asked(callers)
        for share in SHARES:
            yield (OPEN, share), self._open(share)

    def _asked(self, callers: int) -> Iterator[Turn]:
        stage, workload = self._stage, self._workload
        yield self._load((ECHO, callers), stage.echoed(workload))
        if workload is A:
            yield self._load((WIRE, callers), stage.target(calls.FRAMES, workload))
        yield self._load((CLIENT, callers), stage.target(calls.CLIENT, workload))
        if callers == 1:
            yield self._load((REMOTE_MODEL, 1), stage.target(calls.MODEL, workload))

    def _load(self, key: Key, target: Target) -> Turn:
        def turn(seconds: float) -> None:
            load = self._stage.crew.measure(target, key[1], seconds)
            self.measured.loads.setdefault(key, []).append(load)
            if key == (CLIENT, self.crowd):
                self._capacity = load.per_second

        return key, turn

    def _open(self, share: int) -> Callable[[float], None]:
        def turn(seconds: float) -> None:
            target = self._stage.target(calls.CLIENT, self._workload)
            rate = self._capacity * share / 100
            load = self._stage.crew.measure(target, self.crowd, seconds, rate=rate)
            self.measured.loads.setdefault((OPEN, share), []).append(load)

        return turn

    def _limits(self, way: str, batches: tuple[int, ...]) -> Iterator[Turn]:
        if way in self.measured.missing:
            return
        for rows in batches:
            yield (way, rows), self._limit(way, rows)

    def _limit(self, way: str, rows: int) -> Callable[[float], None]:
        def turn(seconds: float) -> None:
            seconds = seconds * LIMIT_TURNS / len(self._run.batches)
            asked = {"model": self._workload.name, "way": way, "rows": rows, "seconds": seconds}
            told = self._stage.models.ask(asked, seconds)
            limit = Limit(float(told["p50_us"]), float(told["rows_per_s"]))
            self.measured.limits.setdefault((way, rows), []).append(limit)

        return turn


def _backwards(turns: list[Turn]) -> list[Turn]:
    """Return turns in the opposite order; the open loop stays last, as it goes by the round's capacity."""
    open_ones = [turn for turn in turns if turn[0][0] == OPEN]
    others = [turn for turn in turns if turn[0][0] != OPEN]
    return others[::-1] + open_ones
