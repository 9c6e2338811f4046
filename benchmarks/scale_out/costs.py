"""What was measured of one chunk, and of a broker; where it is kept.

Owns the record and its file. It measures nothing. Main thread.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.report.found import Rounds, median

FILE = Path(__file__).parents[2] / "docs" / "scale-out.json"
#: How rows travel.
MESSAGES, CLAIMS, SHARED = "in messages", "by a claim store", "on a shared folder"


@dataclass(frozen=True)
class ChunkCosts:
    """What one chunk costs, by one way of carrying its rows: a value for each time it was measured.

    Attributes:
        way: How rows travel, in words.
        rows: Rows in a chunk.
        row_bytes: Bytes of a row as the model gets it.
        commands: What the broker's Redis is asked, answers' keeping included.
        broker_cpu_ms: Processor time of that Redis.
        broker_bytes: What goes in and out of it.
        store_cpu_ms: Processor time of the claim store's Redis; empty where it was not measured.
        store_bytes: What goes in and out of that.
        run_cpu_ms: Processor time of `predictd score`.
        worker_cpu_ms: Processor time of the worker, parent and children.
    """

    way: str
    rows: int
    row_bytes: int
    commands: Rounds
    broker_cpu_ms: Rounds
    broker_bytes: Rounds
    store_cpu_ms: Rounds
    store_bytes: Rounds
    run_cpu_ms: Rounds
    worker_cpu_ms: Rounds

    @property
    def is_whole(self) -> bool:
        """Whether all that rows pass through was measured."""
        return bool(self.store_cpu_ms)

    @property
    def beside_bytes(self) -> float:
        """Bytes that travel beside the broker: through a claim store, or rows that are read from a file server."""
        if self.way == SHARED:
            return self.rows * self.row_bytes
        return median(self.store_bytes) if self.store_bytes else 0.0


@dataclass(frozen=True)
class HostRate:
    """How fast one host scores, with nothing else to do.

    Attributes:
        title: What, in words.
        row_bytes: Bytes of a row, by which its chunks are found.
        rows_per_s: Rows a second.
    """

    title: str
    row_bytes: int
    rows_per_s: float


@dataclass(frozen=True)
class Costs:
    """All that the model is made of.

    Attributes:
        chunks: By each way and model.
        hosts: What hosts score.
        cores: Of each of them.
        idle_commands_per_s: Of one worker with nothing to do.
        idle_cpu_ms_per_s: What these cost the broker.
        gets_per_cpu_s: GETs of 100 bytes, ten at once, that the same Redis answers in a second of its processor time.
        machine: On which machine.
    """

    chunks: tuple[ChunkCosts, ...]
    hosts: tuple[HostRate, ...]
    cores: int
    idle_commands_per_s: float
    idle_cpu_ms_per_s: float
    gets_per_cpu_s: float
    machine: str

    def write(self) -> None:
        """Keep them."""
        FILE.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls) -> Costs:
        """Return what was kept."""
        kept = json.loads(FILE.read_text(encoding="utf-8"))
        chunks = tuple(ChunkCosts(**_tupled(one)) for one in kept.pop("chunks"))
        return cls(chunks, tuple(HostRate(**one) for one in kept.pop("hosts")), **kept)


def _tupled(plain: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}
