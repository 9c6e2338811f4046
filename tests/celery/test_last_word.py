"""A child that is told to end has cancelled what it asked before it is gone; one that is killed could not."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

import celery
import pytest
from celery.exceptions import SoftTimeLimitExceeded

import predictd
from predictd_celery import PredictTask
from tests.server.pump_bench import PumpBench, running_pump

pytestmark = pytest.mark.integration

CHILDREN = 20
ROW = [[1.0, 2.0, 3.0]]


def ask(task: Any) -> None:
    task.ask("m", ROW)


def ask_many(task: Any) -> None:
    task.ask_many("m", [ROW] * 3)


def submit_first(task: Any) -> None:
    task.client.submit("m", ROW, timeout_ms=3_600_000)
    task.client.submit("m", ROW, timeout_ms=3_600_000)
    task.ask("m", ROW)


def forked(task: Any, asks: Callable[[Any], None], number: int) -> int:
    """Start a process that runs the task as Celery's children do, and ends as they do; return its id."""
    pid = os.fork()
    if pid:
        return pid
    signal.signal(signal.SIGTERM, _exit)
    try:
        task.push_request(id=f"t-{number}", called_directly=False)
        asks(task)
    finally:
        os._exit(0)


def has_ended(pid: int) -> bool:
    return os.waitpid(pid, os.WNOHANG) != (0, 0)


def nothing(self: Any) -> None:
    """Do what the test does in its place."""


def _exit(*_: Any) -> None:
    raise SystemExit


@pytest.fixture
def pump():
    with running_pump() as bench:
        bench.hold()
        yield bench


@pytest.fixture
def task():
    app = celery.Celery("tests", broker="memory://", set_as_current=False)
    yield app.task(base=PredictTask, bind=True, name="tests.ask")(nothing)
    app.close()


@pytest.mark.parametrize(
    ("asks", "number"),
    [
        (ask, signal.SIGTERM),
        (ask_many, signal.SIGTERM),
        (submit_first, signal.SIGTERM),
        (ask, signal.SIGKILL),
        (ask_many, signal.SIGKILL),
    ],
)
def test_what_a_child_has_asked_is_cancelled_when_it_is_told_to_end_and_kept_when_it_is_killed(
    pump: PumpBench, task: Any, asks: Callable[[Any], None], number: signal.Signals
) -> None:
    task.client = predictd.Client(pump.endpoint)
    each = 1 if asks is ask else 3
    children = [forked(task, asks, count) for count in range(CHILDREN)]
    pump.wait_for(lambda: pump.counters.requests_total == CHILDREN * each + 1)
    for child in children:
        os.kill(child, number)
    for child in children:
        pump.wait_for(partial(has_ended, child))
    counters = pump.counters
    pump.wait_for(lambda: counters.requests_cancelled_total + counters.requests_kept_total >= CHILDREN)
    if number == signal.SIGTERM:
        pump.wait_queued(0)
        assert (counters.requests_cancelled_total, counters.requests_kept_total) == (CHILDREN * each, 0)
    else:
        assert counters.requests_cancelled_total == 0


class Ended:
    """A client in a process that is told to end, in whose last word another signal comes."""

    timeout_ms = 1000.0

    def __init__(self, second: BaseException) -> None:
        self.second = second

    def without_retries(self) -> Ended:
        return self

    def predict(self, *_: Any, **__: Any) -> None:
        raise SystemExit(15)

    submit = predict

    def give_up(self, _: float) -> None:
        raise self.second


@pytest.mark.parametrize("asks", [ask, ask_many])
@pytest.mark.parametrize("second", [SoftTimeLimitExceeded(), SystemExit("again"), ValueError("odd")])
def test_a_second_signal_does_not_stop_a_process_from_ending(
    task: Any, asks: Callable[[Any], None], second: BaseException
) -> None:
    task.client = Ended(second)
    with pytest.raises(SystemExit, match="15"):
        asks(task)
