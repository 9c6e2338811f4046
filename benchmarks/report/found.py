"""What a section found: figures, and the tables of loads, limits and processes that they were taken from.

Owns these records; each value is the list of its rounds, so that a reader sees spreads and not just medians. As JSON
they are what `docs/performance.json` holds.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.loads.load import Load
from benchmarks.processes.memory import MIB, Memory, memory_of
from benchmarks.report.figures import Figure

#: Digits of a value that are kept; the rest is noise.
DIGITS = 4

Rounds = tuple[float, ...]


@dataclass(frozen=True)
class LoadRow:
    """A load in all its rounds.

    Attributes:
        what: The workload.
        callers: How many callers, or the rate of an open loop, in words.
        way: How they asked, and whom.
        per_second: Answers per second.
        p50_us: Median time of a call in microseconds.
        p99_us: Its 99th percentile.
        client_cpu_us: Processor time of the callers per answer.
        server_cpu_us: Processor time of who was asked per answer.
        offered_per_second: Of an open loop: calls that were due per second.
    """

    what: str
    callers: str
    way: str
    per_second: Rounds
    p50_us: Rounds
    p99_us: Rounds
    client_cpu_us: Rounds
    server_cpu_us: Rounds
    offered_per_second: Rounds = ()


@dataclass(frozen=True)
class LimitRow:
    """A model run in a process of its own, in all rounds."""

    what: str
    way: str
    rows: int
    p50_us: Rounds
    rows_per_s: Rounds


@dataclass(frozen=True)
class ProcessRow:
    """The memory of a process at the end of a section, in MiB: all it maps, its share of the shared, its own."""

    what: str
    rss_mib: float
    pss_mib: float
    uss_mib: float


@dataclass
class Found:
    """All that a section found."""

    figures: list[Figure] = field(default_factory=list)
    loads: list[LoadRow] = field(default_factory=list)
    limits: list[LimitRow] = field(default_factory=list)
    processes: list[ProcessRow] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {name: [_plain(asdict(row)) for row in getattr(self, name)] for name in _ROWS}


_ROWS: dict[str, Any] = {"figures": Figure, "loads": LoadRow, "limits": LimitRow, "processes": ProcessRow}


def found_from_json(plain: dict[str, Any]) -> Found:
    """Return what `Found.as_json` was made of."""
    rows = {name: [kind(**_tupled(row)) for row in plain[name]] for name, kind in _ROWS.items()}
    return Found(**rows)


def load_row(what: str, callers: str, way: str, loads: Sequence[Load]) -> LoadRow:
    """Return a load's rounds as a row."""
    names = ("per_second", "p50_us", "p99_us", "client_cpu_us", "server_cpu_us")
    offered = tuple(load.offered_per_second for load in loads if load.offered_per_second)
    rounds = {name: tuple(getattr(load, name) for load in loads) for name in names}
    return LoadRow(what, callers, way, **rounds, offered_per_second=offered)


def process_rows(pids: Iterable[tuple[str, int]]) -> list[ProcessRow]:
    """Return the memory of some processes now."""
    return [_process_row(what, memory_of([pid])) for what, pid in pids]


def _process_row(what: str, memory: Memory) -> ProcessRow:
    return ProcessRow(what, memory.rss_bytes / MIB, memory.pss_bytes / MIB, memory.uss_bytes / MIB)


def median(values: Iterable[float]) -> float:
    """Return the median of some rounds."""
    return statistics.median(values)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _short(value) for name, value in row.items()}


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    return [_short(one) for one in value] if isinstance(value, (list, tuple)) else value


def _tupled(row: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
