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
        limit: The same for the bare loop that waits in the same way; None for a bare loop itself.
        plain: The same for the bare loop in one thread with as many requests in flight, where `limit` is another.
        goal: What the ratio should be; empty where it is only shown.
    """

    what: str
    way: tuple[str, ...]
    limit: tuple[str, ...] | None = None
    plain: tuple[str, ...] | None = None
    goal: str = "<= 1.5"


_N = str(CROWD)
_ONE = ("bare", "1")
_MANY = ("bare", _N)
_THREADS = ("bare threads", _N)
_GREENLETS = ("bare threads", _N, "gevent")
_TASK = ("bare tasks", "1")
_TASKS = ("bare tasks", _N)
_ROWS = (
    _Row("bare loop: one DEALER, one thread, one request at a time", _ONE),
    _Row(f"bare loop: one DEALER, one thread, {_N} requests in flight", _MANY),
    _Row(f"bare loops: {_N} threads, each with a DEALER", _THREADS),
    _Row(f"bare loops: {_N} gevent greenlets, each with a zmq.green DEALER", _GREENLETS),
    _Row("bare loop: one asyncio task with a zmq.asyncio DEALER", _TASK),
    _Row(f"bare loops: {_N} asyncio tasks, each with a zmq.asyncio DEALER", _TASKS),
    _Row("Client, one thread / bare loop", ("client", "1"), _ONE),
    _Row(f"Client, {_N} threads / bare loops in threads", ("client", _N), _THREADS, _MANY),
    _Row(f"Client, {_N} greenlets / bare loops in greenlets", ("client", _N, "gevent"), _GREENLETS, _MANY),
    _Row("AsyncClient, one task / bare loop in a task", ("asyncio", "1"), _TASK, _ONE),
    _Row(f"AsyncClient, {_N} tasks / bare loops in tasks", ("asyncio", _N), _TASKS, _MANY),
    _Row(f"Client.submit, {_N} futures / bare loop, {_N} in flight", ("submit", _N), _MANY, goal=""),
    _Row(f"Client.map, window of {_N} / bare loop, {_N} in flight", ("map", _N), _MANY, goal=""),
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
    limit_us = askers[row.limit].cpu_us
    beside = f"{statistics.median(ours.cpu_us):.0f} us, bare {statistics.median(limit_us):.0f} us; {rate}"
    if row.plain is not None:
        in_flight = "one at a time" if row.plain == _ONE else f"{row.plain[-1]} in flight"
        beside += f"; {statistics.median(_ratios(ours, askers[row.plain])):.1f} x the bare loop with {in_flight}"
    return Figure(row.what, _ratios(ours, askers[row.limit]), goal=row.goal, beside=beside)


def _ratios(ours: _Asker, limit: _Asker) -> tuple[float, ...]:
    return tuple(mine / bare for mine, bare in zip(ours.cpu_us, limit.cpu_us, strict=True))
