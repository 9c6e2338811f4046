"""A task whose child has died comes again with a count of its children, three at most; without a worker."""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import celery
import pytest
from billiard.einfo import ExceptionInfo
from billiard.exceptions import WorkerLostError
from celery.utils.imports import symbol_by_name
from kombu.exceptions import OperationalError

from predictd_celery import PredictTask
from tests.celery.child_work import message_of


class Delivery:
    """What becomes of one message: sent again, back to the broker, or done with a result."""

    def __init__(self, app: celery.Celery, task: Any, headers: dict[str, Any]) -> None:
        self.app, self.task, self.headers = app, task, headers
        self.is_redelivered = False
        self.sent: list[dict[str, Any]] = []
        self.told: list[str] = []

    def lose_child(self) -> None:
        message = SimpleNamespace(
            headers={"id": "t-1", "task": self.task.name, **self.headers},
            body=b"",
            payload=((), {}, {}),
            content_type="application/json",
            content_encoding="utf-8",
            delivery_info={"exchange": "", "routing_key": "celery", "redelivered": self.is_redelivered},
            properties={},
        )
        request = symbol_by_name(self.task.Request)(
            message,
            app=self.app,
            task=self.task,
            on_ack=lambda *_: self.told.append("acknowledged"),
            on_reject=lambda *arguments: self.told.append("handed back" if arguments[2] else "rejected"),
        )
        lost = WorkerLostError("Worker exited prematurely: signal 9 (SIGKILL).")
        try:
            raise lost
        except WorkerLostError:
            request.on_failure(ExceptionInfo())

    def result(self) -> Any:
        return self.app.AsyncResult("t-1").result


@pytest.fixture
def app() -> Iterator[celery.Celery]:
    found = celery.Celery("tests", broker="memory://", backend="cache+memory://", set_as_current=False)
    found.conf.task_default_queue = f"queue-{id(found)}"  # of the transport, which all apps of the process share
    yield found
    found.backend.forget("t-1")
    found.close()


@pytest.fixture
def deliver(app: celery.Celery, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Delivery]:
    @app.task(base=PredictTask, name="tests.deadly", shared=False, max_retries=None)
    def deadly() -> None:
        """Not run here."""

    def make(**headers: Any) -> Delivery:
        delivery = Delivery(app, app.tasks["tests.deadly"], headers)
        keep = lambda *_, **options: delivery.sent.append(options)  # noqa: E731
        monkeypatch.setattr(delivery.task, "apply_async", keep)
        return delivery

    return make


def test_each_death_is_counted_in_the_message_and_the_third_is_the_task_s_failure(deliver) -> None:
    headers: dict[str, Any] = {"traceparent": "00-1", "retries": 5}
    for deaths in (1, 2):
        delivery = deliver(**headers)
        delivery.lose_child()
        (sent,) = delivery.sent
        assert (sent["task_id"], sent["retries"], sent["countdown"]) == ("t-1", headers["retries"] + 1, 1)
        assert sent["headers"] == {"traceparent": "00-1", "predictd_deaths": deaths}
        assert delivery.told == ["acknowledged"]
        headers |= {**sent["headers"], "retries": sent["retries"]}
    last = deliver(**headers)
    last.lose_child()
    assert (last.sent, last.told) == ([], ["acknowledged"])
    assert isinstance(last.result(), WorkerLostError)
    assert "signal 9" in str(last.result())


def test_whatever_the_app_does_with_lost_children_the_third_is_the_last(app: celery.Celery, deliver) -> None:
    app.conf.update(task_reject_on_worker_lost=True, task_acks_late=True)
    last = deliver(predictd_deaths=2)
    last.lose_child()
    assert (last.sent, last.told) == ([], ["acknowledged"])
    assert isinstance(last.result(), WorkerLostError)


def test_without_retries_the_first_lost_child_is_the_last(deliver, monkeypatch: pytest.MonkeyPatch) -> None:
    only = deliver()
    monkeypatch.setattr(only.task, "max_retries", 0)
    only.lose_child()
    assert (only.sent, only.told) == ([], ["acknowledged"])
    assert isinstance(only.result(), WorkerLostError)


@pytest.mark.parametrize("is_redelivered", [False, True])
def test_a_broker_that_takes_nothing_keeps_the_message_that_it_has_once(
    deliver, monkeypatch: pytest.MonkeyPatch, is_redelivered: bool
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OperationalError

    delivery = deliver()
    delivery.is_redelivered = is_redelivered
    monkeypatch.setattr(delivery.task, "apply_async", refuse)
    delivery.lose_child()
    assert delivery.told == ["acknowledged" if is_redelivered else "handed back"]
    assert isinstance(delivery.result(), WorkerLostError) == is_redelivered


def test_what_was_sent_again_is_done_with_though_no_result_can_be_stored(
    app: celery.Celery, deliver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise OperationalError

    delivery = deliver()
    monkeypatch.setattr(app.backend, "mark_as_retry", away)
    delivery.lose_child()
    assert (len(delivery.sent), delivery.told) == (1, ["acknowledged"])
    assert "tests.deadly[t-1] is sent again" in caplog.text


def test_the_wait_for_a_lost_child_is_not_that_of_a_task_s_own_retry(deliver) -> None:
    delivery = deliver()
    celery_s = celery.Task.default_retry_delay
    assert delivery.task.default_retry_delay == celery_s
    delivery.lose_child()
    assert delivery.sent[0]["countdown"] == 1
    assert delivery.task.default_retry_delay == celery_s
    delivery.task.default_retry_delay = 7
    delivery.lose_child()
    assert (delivery.sent[1]["countdown"], delivery.task.default_retry_delay) == (1, 7)


def test_what_came_in_the_serializer_is_sent_again_in_it(app: celery.Celery) -> None:
    app.conf.accept_content = ["json", "predictd"]

    @app.task(base=PredictTask, name="tests.sets", shared=False)
    def sets(value: Any) -> None:
        """Not run here."""

    sets.apply_async(({1, 2},), serializer="predictd")
    first = message_of(app)
    request = symbol_by_name(sets.Request)(first, app=app, task=sets)
    try:
        raise WorkerLostError
    except WorkerLostError:
        request.on_failure(ExceptionInfo())
    again = message_of(app)
    assert (again.content_type, again.headers["predictd_deaths"]) == (first.content_type, 1)
    assert list(again.decode()[0]) == [{1, 2}]
