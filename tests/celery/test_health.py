"""How a worker looks at its daemon: when, by whom, and what is told; without a worker."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from celery.concurrency.prefork import TaskPool
from celery.exceptions import SoftTimeLimitExceeded
from celery.worker.control import Panel
from kombu.asynchronous.semaphore import LaxBoundedSemaphore

from predictd.testing import FakeModel, in_process
from predictd_celery import DaemonHealth, app, health
from predictd_celery.config import health_interval_s
from predictd_proto.errors import ConfigError
from tests.client.fake_process import run_program


class Timer:
    """Keeps what is to be called; the test says when."""

    def __init__(self) -> None:
        self.entries: list[tuple[float, Any, tuple[Any, ...]]] = []
        self.cancelled = 0

    def call_after(self, after_s: float, call: Any, args: tuple[Any, ...]) -> SimpleNamespace:
        self.entries.append((after_s, call, args))
        return SimpleNamespace(cancel=self._cancel)

    call_repeatedly = call_after

    def _cancel(self) -> None:
        self.cancelled += 1


class Pool:
    """Keeps the jobs; the test runs them."""

    def __init__(self) -> None:
        self.jobs: list[dict[str, Any]] = []

    def apply_async(self, target: Any, **callbacks: Any) -> None:
        self.jobs.append({"target": target, **callbacks})

    def run(self) -> None:
        job = self.jobs.pop()
        job["callback"](job["target"]())


@pytest.fixture
def consumer() -> Any:
    controller = SimpleNamespace(semaphore=None, pool_putlocks=True, pool_cls=TaskPool)
    return SimpleNamespace(timer=Timer(), pool=Pool(), controller=controller)


@pytest.fixture
def step(consumer: Any) -> DaemonHealth:
    return DaemonHealth(consumer)


def inspect(consumer: Any) -> dict[str, Any]:
    """Return what the remote-control command replies, after a trip through JSON."""
    told: dict[str, Any] = json.loads(json.dumps(Panel.data["predictd"](SimpleNamespace(consumer=consumer))))
    return told


def test_the_ready_app_looks(consumer: Any) -> None:
    assert DaemonHealth in app.steps["consumer"]
    assert Panel.meta["predictd"].type == "inspect"


def test_it_looks_at_once_and_then_at_intervals(consumer: Any, step: DaemonHealth) -> None:
    step.start(consumer)
    assert [after_s for after_s, _, _ in consumer.timer.entries] == [0, 30]
    assert not consumer.pool.jobs
    step.stop(consumer)
    step.stop(consumer)
    assert consumer.timer.cancelled == 2


def test_the_pool_looks_and_the_command_tells(consumer: Any, step: DaemonHealth) -> None:
    assert inspect(consumer) == {"state": "unknown", "age_s": None}
    with in_process(FakeModel("m", inputs=("float32", (None, 2)), outputs=("float32", (None, 1)))) as server:
        consumer.pool.run()
        told = inspect(consumer)
        assert (told["state"], told["responsive"], told["models"]) == ("ready", True, {"m:1": "ready"})
        assert told["endpoint"] == server.endpoint
        assert 0 <= told["age_s"] < 60


def test_one_look_at_a_time(consumer: Any, step: DaemonHealth, monkeypatch: pytest.MonkeyPatch) -> None:
    step.look(consumer)
    step.look(consumer)
    assert len(consumer.pool.jobs) == 1
    monkeypatch.setattr(health, "LOST_AFTER_S", 0)
    step.look(consumer)
    assert len(consumer.pool.jobs) == 2


def test_a_look_takes_a_child_s_place_as_a_task_does(consumer: Any, step: DaemonHealth) -> None:
    semaphore = consumer.controller.semaphore = LaxBoundedSemaphore(2)
    step.look(consumer)
    assert (len(consumer.pool.jobs), semaphore.value) == (1, 1)


LOOKS_OF_EACH_POOL = """
from types import SimpleNamespace
from celery import Celery
from predictd_celery import DaemonHealth

class Pool:
    looks = 0

    def apply_async(self, target, callback, **_):
        self.looks += 1
        callback({"state": "ready", "responsive": True, "endpoint": "nowhere"})

for kind in ("solo", "threads", "prefork"):
    # Redis: its transport has an event loop, for which Celery makes a semaphore whatever the pool.
    app = Celery(kind, broker="redis://127.0.0.1:1/0", set_as_current=False)
    worker = app.WorkController(pool_cls=kind, concurrency=4, loglevel="ERROR")
    consumer = SimpleNamespace(pool=Pool(), controller=worker)
    step = DaemonHealth(consumer)
    for _ in range(20):
        step.look(consumer)
    print(kind, worker.semaphore is not None, consumer.pool.looks)
"""


def test_it_takes_no_place_in_a_pool_that_gives_none_back() -> None:
    ran = run_program(LOOKS_OF_EACH_POOL)
    # No job of this prefork's ever ends.
    assert ran.stdout.splitlines() == ["solo True 20", "threads True 20", "prefork True 4"], ran.stderr


def test_one_look_waits_in_line_however_long_the_pool_is_busy(
    consumer: Any, step: DaemonHealth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "LOST_AFTER_S", 0)
    semaphore = consumer.controller.semaphore = LaxBoundedSemaphore(1)
    began: list[str] = []
    semaphore.acquire(began.append, "running")
    step.look(consumer)
    semaphore.acquire(began.append, "waiting")
    step.look(consumer)
    assert (began, consumer.pool.jobs) == (["running"], [])
    semaphore.release()
    assert (began, len(consumer.pool.jobs)) == (["running"], 1)
    semaphore.release()
    assert (began, len(consumer.pool.jobs)) == (["running", "waiting"], 1), "one task for each job that has ended"


def test_a_lost_connection_to_the_broker_loses_no_later_look(consumer: Any, step: DaemonHealth) -> None:
    semaphore = consumer.controller.semaphore = LaxBoundedSemaphore(1)
    semaphore.acquire(lambda: None)
    step.look(consumer)
    semaphore.clear()  # what Celery does then
    step.start(consumer)
    step.look(consumer)
    assert len(consumer.pool.jobs) == 1
    step.start(consumer)
    semaphore.clear()
    step.look(consumer)
    assert len(consumer.pool.jobs) == 2


def test_a_look_that_went_down_with_its_child_is_made_anew(consumer: Any, step: DaemonHealth) -> None:
    step.look(consumer)
    consumer.pool.jobs.pop()["error_callback"](RuntimeError("the child has ended"))
    step.look(consumer)
    assert len(consumer.pool.jobs) == 1
    assert inspect(consumer)["state"] == "unknown"


def test_what_has_changed_is_logged_once(consumer: Any, step: DaemonHealth, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "predictd_celery.health")
    with in_process(FakeModel("m", inputs=("float32", (None, 2)), outputs=("float32", (None, 1)))) as server:
        for faults in ([], [server.faults.draining], [server.faults.away], [server.faults.away], []):
            switched = [fault() for fault in faults]
            step.look(consumer)
            consumer.pool.run()
            for fault in switched:
                fault.end()
    said = [(record.levelname, record.getMessage().split(" is ")[1].split(":")[0]) for record in caplog.records]
    assert said == [("INFO", "ready"), ("WARNING", "draining"), ("WARNING", "unreachable"), ("INFO", "ready")]


def test_a_soft_limit_in_a_look_is_no_fault_of_the_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise SoftTimeLimitExceeded

    monkeypatch.setattr(health, "_client", SimpleNamespace(status=interrupted, endpoint="ipc:///nowhere"))
    assert health.look()["state"] == "unknown"


def test_without_the_step_the_command_says_how_to_have_it() -> None:
    assert "predictd_celery.DaemonHealth" in inspect(SimpleNamespace())["error"]


def test_an_interval_of_0_is_no_look(consumer: Any, step: DaemonHealth, monkeypatch: pytest.MonkeyPatch) -> None:
    assert step.include_if(consumer)
    monkeypatch.setenv("PREDICTD_HEALTH_INTERVAL_S", "0")
    assert not step.include_if(consumer)


@pytest.mark.parametrize("text", ["often", "-1", "nan", "inf"])
def test_a_wrong_interval_names_itself(text: str) -> None:
    with pytest.raises(ConfigError, match=f"PREDICTD_HEALTH_INTERVAL_S: expected a number.*{text!r}"):
        health_interval_s({"PREDICTD_HEALTH_INTERVAL_S": text})
