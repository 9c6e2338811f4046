"""A workload's turns in one round: every load and every limit, one after the other.

Owns their order. A load stands beside the limit that its goal speaks of, and every other round goes backwards: a
machine that gets slower meanwhile does so for both. Before the first round all of them are run once, shortly, and not
counted: that connects, warms, and tells how long before its window a load has to begin. Which batch the model runs best
is found before the rounds, which then measure that one: the highest of eight noisy figures would be too high.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.loads import calls
from benchmarks.loads.load import Crew, Load, Target
from benchmarks.sections.measured import (
    BESIDE,
    CAPACITY,
    CLIENT,
    CONCRETE,
    ECHO,
    LONE_CLIENT,
    LONE_ECHO,
    MEMCPY,
    OPEN,
    PREDICT,
    REMOTE_MODEL,
    SESSION,
    TASKS,
    WIRE,
    Key,
    Limit,
    Measured,
)
from benchmarks.sections.stage import Run, Stage
from benchmarks.workloads import A, Workload
from predictd_proto.segments import SHARED_TENSOR_BYTES

#: Of the capacity that was measured right before, in percent.
SHARES = (50, 80, 95)
#: The one with a goal: its window is long enough for a 99th percentile.
JUDGED_SHARE = 80
#: No window is longer, however few answers it has.
MOST_OPEN_S = 15.0
CROWD = 64
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
        #: The rows that each way of running the model is given beside the crowd.
        self._beside: dict[str, int] = dict.fromkeys(BESIDE, 1)
        self.measured.missing.update(stage.models.ready["missing"][workload.name])

    @property
    def crowd(self) -> int:
        """The most callers that a goal speaks of, or as many as there are if they are fewer."""
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
        self._run.say("finding the best batch")
        self._find_best_batches(seconds)
        for number in self._run.numbers():
            for _, turn in turns if number % 2 == 0 else turns[::-1]:
                turn(seconds)
        return self.measured

    def _turns(self) -> Iterator[Turn]:
        for callers in self._callers:
            yield from self._asked(callers)
        for share in SHARES:
            yield (OPEN, share), self._open(share)

    def _asked(self, callers: int) -> Iterator[Turn]:
        stage, workload = self._stage, self._workload
        if callers == self.crowd and workload is A:
            yield self._load((TASKS, callers), stage.target(calls.TASKS, workload))
        asked = self._load((CLIENT, callers), stage.target(calls.CLIENT, workload))
        if workload is A:
            yield self._load((WIRE, callers), stage.target(calls.FRAMES, workload))
        yield self._load((ECHO, callers), stage.echoed(workload))
        if callers > 1:
            yield asked
        if callers == self.crowd:
            yield from self._limit(CONCRETE, beside=True)
            yield from self._limit(SESSION, beside=True)
            if lone := stage.lone_callers:
                count = len(lone.members)
                yield self._load((LONE_CLIENT, count), stage.target(calls.CLIENT, workload), lone)
                yield self._load((LONE_ECHO, count), stage.echoed(workload), lone)
        if callers == 1:
            yield asked
            for way in (CONCRETE, MEMCPY, SESSION, PREDICT):
                yield from self._limit(way)
            yield self._load((REMOTE_MODEL, 1), stage.target(calls.MODEL, workload))

    def _load(self, key: Key, target: Target, crew: Crew | None = None) -> Turn:
        def turn(seconds: float) -> None:
            self._note_load(key, (crew or self._stage.crew).measure(target, key[1], seconds))

        return key, turn

    def _open(self, share: int) -> Callable[[float], None]:
        def turn(seconds: float) -> None:
            # Tensors that clients share with the server can't be made beforehand; with few of them threads do as well.
            kind = calls.CLIENT if self._workload.row_bytes >= SHARED_TENSOR_BYTES else calls.PIPE
            target = self._stage.target(kind, self._workload)
            capacity = self._stage.crew.measure(target, self.crowd, seconds)
            rate = capacity.per_second * share / 100
            if share == JUDGED_SHARE:
                seconds = max(seconds, min(self._run.fewest_answers / rate, MOST_OPEN_S))
            self._note_load((CAPACITY, self.crowd), capacity)
            self._note_load((OPEN, share), self._stage.crew.measure(target, self.crowd, seconds, rate=rate))

        return turn

    def _note_load(self, key: Key, load: Load) -> None:
        self.measured.loads.setdefault(key, []).append(load)

    def _limit(self, way: str, *, beside: bool = False) -> Iterator[Turn]:
        if way in self.measured.missing:
            return

        def turn(seconds: float) -> None:
            rows = self._beside[way] if beside else 1
            self._note((BESIDE[way] if beside else way, rows), self._run_in_process(way, rows, seconds))

        yield (BESIDE[way] if beside else way, 1), turn

    def _find_best_batches(self, seconds: float) -> None:
        most = MOST_BATCH_BYTES // self._workload.row_bytes
        batches = [rows for rows in self._run.batches if rows <= most]
        for way in BESIDE:
            if way in self.measured.missing:
                continue
            found = {rows: self._run_in_process(way, rows, seconds / len(batches)) for rows in batches}
            for rows in batches:
                # One row's turns are in the rounds.
                if rows > 1:
                    self._note((way, rows), found[rows])
            if self._workload is not A:
                # A's goal is the rate of a model that is called row by row.
                self._beside[way] = max(found, key=lambda rows: found[rows].rows_per_s)

    def _run_in_process(self, way: str, rows: int, seconds: float) -> Limit:
        told = self._stage.models.ask(
            {
                "model": self._workload.name,
                "way": way,
                "rows": rows,
                "seconds": seconds,
                "fewest_calls": self._run.fewest_calls,
            },
            seconds,
        )
        return Limit(float(told["p50_us"]), float(told["rows_per_s"]))

    def _note(self, key: Key, limit: Limit) -> None:
        self.measured.limits.setdefault(key, []).append(limit)
