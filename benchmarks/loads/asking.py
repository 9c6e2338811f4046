"""The processes whose own cost is measured: one for each way of asking, told to ask, idle while another is measured.

Owns the conversation with `asking_process.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.processes.running import Conversation, conversation

#: Arguments of `benchmarks.loads.asking_process` but for the endpoint: the way, requests in flight, what patches it.
Way = tuple[str, ...]


@dataclass(frozen=True)
class Cost:
    """What one turn cost.

    Attributes:
        cpu_us: Processor time of the process per request, in microseconds.
        per_second: Requests per second.
    """

    cpu_us: float
    per_second: float


class Asker:
    """One way of asking in its process.

    Attributes:
        missing: What this machine lacks for it; empty where it can be measured.
    """

    def __init__(self, process: Conversation) -> None:
        self._process = process
        self.missing = str(process.ready.get("missing", ""))

    def measure(self, seconds: float) -> Cost:
        """Ask for some seconds."""
        answer = self._process.ask(seconds, seconds)
        return Cost(float(answer["cpu_us"]), float(answer["per_second"]))


@contextlib.contextmanager
def asking(way: Way, endpoint: str) -> Iterator[Asker]:
    """Run a way's process for as long as the block lasts."""
    name, in_flight, *patch = way
    with conversation("benchmarks.loads.asking_process", name, endpoint, in_flight, *patch) as process:
        yield Asker(process)
