"""What one workload's turns found, round by round, and the tables of it.

Owns the names of the turns: who asked (or which limit), and how many callers, rows or percent.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.loads.load import Load
from benchmarks.report.found import LimitRow, LoadRow, Rounds, load_row

#: Ways of asking, and of running the model without asking anybody; in words for the tables.
CLIENT, REMOTE_MODEL, WIRE, ECHO = "client", "remote model", "wire", "echo"
#: Callers with a process each, as prefork children are, and tasks of one client in each of the two processes.
LONE_CLIENT, LONE_ECHO, TASKS = "lone client", "lone echo", "tasks"
#: An open loop, and the closed one right before it whose rate is the capacity.
CAPACITY, OPEN = "capacity", "open"
CONCRETE, SESSION, PREDICT, MEMCPY = "concrete", "session", "predict", "memcpy"
#: The same once more, right beside the callers' crowd, with the batch that its goal speaks of.
CONCRETE_BESIDE, SESSION_BESIDE = "concrete beside", "session beside"
BESIDE = {CONCRETE: CONCRETE_BESIDE, SESSION: SESSION_BESIDE}
WORDS = {
    CLIENT: "Client.predict",
    REMOTE_MODEL: "RemoteModel.predict",
    WIRE: "ready-made frames to predictd",
    ECHO: "the same frames to a bare echo",
    LONE_CLIENT: "Client.predict, a process for each caller",
    LONE_ECHO: "ready-made frames to a bare echo, a process for each caller",
    TASKS: "AsyncClient.predict, a task for each caller",
    CAPACITY: "closed loop, right before an open one",
    OPEN: "open loop",
    CONCRETE: "concrete function",
    CONCRETE_BESIDE: "concrete function, beside the crowd",
    SESSION: "session callable, frozen graph",
    SESSION_BESIDE: "session callable, beside the crowd",
    PREDICT: "model.predict",
    MEMCPY: "memcpy of the input",
}

#: Who asks or runs, and how many callers or rows (of an open loop: the share of capacity in percent).
Key = tuple[str, int]


@dataclass(frozen=True)
class Limit:
    """A model run in a process of its own: median time of a call, and rows per second."""

    p50_us: float
    rows_per_s: float


@dataclass
class Measured:
    """All rounds of one workload.

    Attributes:
        title: The workload, as the tables name it.
        loads: Each load's rounds.
        limits: Each limit's rounds.
        missing: Limits that can't be measured, and why.
    """

    title: str
    loads: dict[Key, list[Load]] = field(default_factory=dict)
    limits: dict[Key, list[Limit]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def rates(self, way: str, callers: int) -> Rounds:
        """Return a load's answers per second, round by round."""
        return tuple(load.per_second for load in self.loads[way, callers])

    def p50s(self, way: str, count: int) -> Rounds:
        """Return a load's or limit's median times in microseconds, round by round."""
        found = self.loads.get((way, count)) or self.limits[way, count]
        return tuple(one.p50_us for one in found)

    def beside(self, way: str) -> int:
        """Return the rows that a way of running the model had beside the crowd."""
        return next(rows for name, rows in self.limits if name == BESIDE[way])

    def rows_per_s(self, way: str, rows: int) -> Rounds:
        """Return a limit's rows per second, round by round."""
        return tuple(limit.rows_per_s for limit in self.limits[way, rows])

    def load_rows(self) -> list[LoadRow]:
        """Return the table of loads."""
        return [
            load_row(self.title, f"{count} %" if way == OPEN else str(count), WORDS[way], found)
            for (way, count), found in sorted(self.loads.items(), key=lambda item: _place(item[0]))
        ]

    def limit_rows(self) -> list[LimitRow]:
        """Return the table of limits."""
        return [
            LimitRow(self.title, WORDS[way], rows, self.p50s(way, rows), self.rows_per_s(way, rows))
            for way, rows in sorted(self.limits, key=_place)
        ]


def _place(key: Key) -> tuple[int, int]:
    return list(WORDS).index(key[0]), key[1]


def ratios(over: Rounds, under: Rounds) -> Rounds:
    """Return figures by their limits, each within its round."""
    return tuple(one / other for one, other in zip(over, under, strict=True))
