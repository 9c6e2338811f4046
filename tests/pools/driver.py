"""The checks that every row of the matrix has to pass, through whatever program it is.

Owns the load, the killing of the daemon, the comparison of answers and the watch over idle processors. The test's
thread.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import psutil

from tests.daemon_process import DaemonProcess
from tests.idle import idle_share, of_processes
from tests.pools.program import Answers
from tests.waiting import wait_until

#: Known to `asker` too, which is not imported here: it makes a client at import.
SLEEP = -1

REQUESTS = 1_000
REQUESTS_IN_KILL = 200
#: The other one in the process wakes every 5 ms, so about 200 times a second; a blocked process gives it none.
LEAST_TICKS = 10
ASKED_TIMEOUT_S = 100.0


class Asked(Protocol):
    """A program that can be asked for rows."""

    def send(self, rows: Iterable[int]) -> Callable[[], Answers]: ...

    def family(self) -> list[psutil.Process]: ...


@dataclass(frozen=True)
class Measured:
    """What a row of the matrix gave.

    Attributes:
        requests: Requests answered rightly.
        load_s: Time for the thousand.
        processes: Processes that answered.
        ticks: Turns of others during the call of a second.
        largest_gap_s: The longest that others waited for a turn, in any of the processes.
        kill_s: Time from the daemon's death until all that was asked then had its answer.
        idle_share: Processor time of the program without requests, by the time that passed.
    """

    requests: int
    load_s: float
    processes: int
    ticks: int
    largest_gap_s: float
    kill_s: float
    idle_share: float

    def line(self, name: str) -> str:
        """Return a table's row."""
        return (
            f"| {name} | {self.requests} | {self.load_s:.1f} s | {self.processes} | {self.ticks} | "
            f"{self.largest_gap_s * 1000:.0f} ms | {self.kill_s:.1f} s | {self.idle_share:.0%} |"
        )


def measure(program: Asked, daemon: DaemonProcess, expected: np.ndarray, *, ticks: bool = True) -> Measured:
    """Put a program through all checks.

    Args:
        program: The program.
        daemon: The daemon that it asks; killed and started again here.
        expected: What Keras answers, float32[rows, 10].
        ticks: Whether others in the program's processes can run at all.
    """
    started_s = time.monotonic()
    answers = program.send(index % len(expected) for index in range(REQUESTS))()
    load_s = time.monotonic() - started_s
    check_answers(answers, expected, REQUESTS)

    slept = program.send([SLEEP])()[0]
    if ticks:
        assert slept["ticks_meanwhile"] >= LEAST_TICKS, f"others stood still during a call of a second: {slept}"

    started_s = time.monotonic()
    survivors = survive_kill(program, daemon, REQUESTS_IN_KILL)
    kill_s = time.monotonic() - started_s
    check_answers(survivors, expected, REQUESTS_IN_KILL)
    if ticks:
        assert any(answer["ticks_meanwhile"] > 0 for answer in survivors), "others stood still during the restart"

    everything = [*answers, slept, *survivors]
    return Measured(
        requests=len(everything),
        load_s=load_s,
        processes=len({answer["pid"] for answer in everything}),
        ticks=slept["ticks_meanwhile"],
        largest_gap_s=max(answer["largest_gap_s"] for answer in everything),
        kill_s=kill_s,
        idle_share=idle_share(of_processes(program.family)),
    )


def survive_kill(program: Asked, daemon: DaemonProcess, count: int) -> Answers:
    """Kill the daemon while a program waits for it, start it again; return what the program got."""
    # Stopped first: whatever is asked now has certainly been sent and not been answered when it dies.
    daemon.pause()
    asked = asked_path(daemon)
    asked.unlink(missing_ok=True)
    wait_for_answers = program.send(range(count))
    wait_until(asked.exists, ASKED_TIMEOUT_S, what="the program has asked")
    # What is about to be asked is now: the first ones are sent, and others follow.
    time.sleep(0.5)
    daemon.kill()
    daemon.start(wait=False)
    answers = wait_for_answers()
    daemon.wait_until_ready()
    return answers


def asked_path(daemon: DaemonProcess) -> Path:
    """Return the file that programs touch whenever they are about to ask this daemon."""
    return daemon.directory / "asked"


def check_answers(answers: Answers, expected: np.ndarray, count: int) -> None:
    """Compare answers with Keras' own, each with that of its own row."""
    assert len(answers) == count
    rows = np.array([answer["row"] for answer in answers])
    np.testing.assert_array_equal(np.sort(rows), np.sort(np.arange(count) % len(expected)))
    scores = np.array([answer["scores"] for answer in answers])
    np.testing.assert_allclose(scores, expected[rows], rtol=1e-4, atol=1e-6)


def required(name: str) -> None:
    """Skip a test where an optional package is missing, and fail it in CI."""
    import importlib.util

    import pytest

    if importlib.util.find_spec(name) is None:
        text = f"{name} is not installed: it is in the dependency group `pools`"
        assert not os.environ.get("CI"), text
        pytest.skip(text)
