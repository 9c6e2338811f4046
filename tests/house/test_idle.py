"""What the tests call idle: a spin is never, a waiting process always; a busy moment is no spin."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from tests.idle import idle_share, of_processes


@pytest.fixture
def child(request: pytest.FixtureRequest) -> Iterator[psutil.Process]:
    """A process that runs a line."""
    with subprocess.Popen([sys.executable, "-c", request.param]) as process:
        yield psutil.Process(process.pid)
        process.kill()


@pytest.mark.parametrize("child", ["while True: pass"], indirect=True)
def test_a_spin_is_not_idle(child: psutil.Process) -> None:
    with pytest.raises(AssertionError, match="shares of a core"):
        idle_share(of_processes(lambda: [child]), patience_s=0)


@pytest.mark.parametrize("child", ["import time; time.sleep(600)"], indirect=True)
def test_a_process_that_sleeps_is_idle(child: psutil.Process) -> None:
    assert idle_share(of_processes(lambda: [child])) < 0.4


def test_a_busy_window_is_followed_by_another() -> None:
    readings = itertools.chain([0.0, 9.0, 9.0], itertools.repeat(9.0))
    assert idle_share(lambda: next(readings), window_s=0.01) == 0.0


def test_what_a_process_used_before_it_ended_is_not_taken_back() -> None:
    here = [psutil.Process()]
    used_s = of_processes(lambda: here)
    before = used_s()
    here.clear()
    assert used_s() == before > 0
