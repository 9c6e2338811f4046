"""The processes whose own cost is measured: started, told to ask, read with a time-out, ended.

Owns the conversation with `asking_process.py`. Nothing waits for ever: a lost answer ends the measurement.
"""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.servers import running

#: A turn, or a start with its imports, that takes this much longer than it should has lost an answer.
ANSWER_TIMEOUT_S = 120.0

#: Arguments of `benchmarks.asking_process` but for the endpoint: the way, requests in flight, what patches it.
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

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.missing = str(self._read(ANSWER_TIMEOUT_S).get("missing", ""))

    def measure(self, seconds: float) -> Cost:
        """Ask for some seconds."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        answer = self._read(seconds + ANSWER_TIMEOUT_S)
        return Cost(float(answer["cpu_us"]), float(answer["per_second"]))

    def _read(self, timeout_s: float) -> dict[str, Any]:
        # It says one line at a time, and only when asked: nothing of an earlier one is in the buffer.
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], timeout_s)[0]:
            text = f"{self._process.args!r} said nothing for {timeout_s:.0f} s: it waits for an answer that was lost"
            raise RuntimeError(text)
        line = self._process.stdout.readline()
        if not line:
            text = f"{self._process.args!r} ended with exit code {self._process.wait()}; run it by hand to see why"
            raise RuntimeError(text)
        return dict(json.loads(line))


@contextlib.contextmanager
def asking(way: Way, endpoint: str) -> Iterator[Asker]:
    """Run a way's process for as long as the block lasts."""
    name, in_flight, *patch = way
    command = [sys.executable, "-m", "benchmarks.asking_process", name, endpoint, in_flight, *patch]
    with running(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield Asker(process)
        finally:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
