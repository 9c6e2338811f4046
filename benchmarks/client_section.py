"""The client's own cost: processor time per request of each way of asking, against a bare DEALER loop.

Owns which ways are compared with which bare loop. All of them ask one daemon for one row of a tiny model, so what is
compared is the asking process's own time, not the server's; libzmq's threads are in it. Each way has a process that
lives through all rounds and idles while another is measured.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from benchmarks.servers import daemon, running

CROWD = 32

#: A way's turn in a round is short, as there are many: the whole section takes about a minute.
PART_OF_SECONDS = 0.25


@dataclass(frozen=True)
class _Row:
    """One line of the report: a way of asking and the bare loop that it is compared with.

    Attributes:
        what: The way, in words.
        way: Arguments of `benchmarks.asking_process` but for the endpoint.
        limit: The same for the bare loop; None for a bare loop itself.
    """

    what: str
    way: tuple[str, ...]
    limit: tuple[str, ...] | None = None


_ALONE = ("bare", "1")
_MANY = ("bare", str(CROWD))
_THREADS = ("bare threads", str(CROWD))
_GREENLETS = ("bare threads", str(CROWD), "gevent")
_ROWS = (
    _Row("bare loop: one DEALER, one thread, one request at a time", _ALONE),
    _Row(f"bare loop: one DEALER, one thread, {CROWD} requests in flight", _MANY),
    _Row(f"bare loops: {CROWD} threads, each with its own DEALER", _THREADS),
    _Row(f"bare loops: {CROWD} gevent greenlets, each with its own zmq.green DEALER", _GREENLETS),
    _Row("Client, one thread / bare loop, one at a time", ("client", "1"), _ALONE),
    _Row("AsyncClient, one task / bare loop, one at a time", ("asyncio", "1"), _ALONE),
    _Row(f"Client, {CROWD} threads / bare loops in threads", ("client", str(CROWD)), _THREADS),
    _Row(f"Client, {CROWD} greenlets / bare loops in greenlets", ("client", str(CROWD), "gevent"), _GREENLETS),
    _Row(f"AsyncClient, {CROWD} tasks / bare loop, {CROWD} in flight", ("asyncio", str(CROWD)), _MANY),
    _Row(f"Client.submit, {CROWD} futures / bare loop, {CROWD} in flight", ("submit", str(CROWD)), _MANY),
    _Row(f"Client.map, {CROWD} in flight / bare loop, {CROWD} in flight", ("map", str(CROWD)), _MANY),
)


class _Asker:
    """One way of asking in its process.

    Attributes:
        missing: What this machine lacks for it; empty where it can be measured.
        cpu_us: Processor time of the process per request, in microseconds, of each round.
        per_second: Requests per second of each round.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.missing = str(self._read().get("missing", ""))
        self.cpu_us: list[float] = []
        self.per_second: list[float] = []

    def measure(self, seconds: float) -> None:
        """Ask for some seconds."""
        if self.missing:
            return
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        answer = self._read()
        self.cpu_us.append(float(answer["cpu_us"]))
        self.per_second.append(float(answer["per_second"]))

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            text = f"{self._process.args!r} ended with exit code {self._process.wait()}; run it by hand to see why"
            raise RuntimeError(text)
        return dict(json.loads(line))


def client(rounds: int, seconds: float, say: Callable[[str], None]) -> list[Figure]:
    """Processor time per request of the asking process; one row `float32[1, 64]`, over ipc."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pdb-", dir="/tmp")))
        model = directory / "mlp.keras"
        say("making the model")
        subprocess.run([sys.executable, "-m", "benchmarks.make_model", model], check=True, stderr=subprocess.DEVNULL)
        say("starting the daemon")
        endpoint = stack.enter_context(daemon(directory, model))
        askers = {row.way: _Asker(stack.enter_context(_asking(row.way, endpoint))) for row in _ROWS}
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            for asker in askers.values():
                asker.measure(seconds * PART_OF_SECONDS)
    return [_figure(row, askers) for row in _ROWS]


def _asking(way: tuple[str, ...], endpoint: str) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    name, in_flight, *patch = way
    command = [sys.executable, "-m", "benchmarks.asking_process", name, endpoint, in_flight, *patch]
    return running(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _figure(row: _Row, askers: dict[tuple[str, ...], _Asker]) -> Figure:
    ours = askers[row.way]
    if ours.missing:
        return Figure(row.what, (), beside=ours.missing)
    rate = f"{statistics.median(ours.per_second):,.0f}/s"
    if row.limit is None:
        return Figure(row.what, tuple(ours.cpu_us), unit="us", beside=rate)
    bare_us = askers[row.limit].cpu_us
    return Figure(
        row.what,
        tuple(mine / bare for mine, bare in zip(ours.cpu_us, bare_us, strict=True)),
        goal="<= 1.5",
        beside=f"{statistics.median(ours.cpu_us):.0f} us, bare {statistics.median(bare_us):.0f} us; {rate}",
    )
