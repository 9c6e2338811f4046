"""A retry that can't be sent: when its task waits in the queue for another time, when it fails with its own error."""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import celery
import numpy as np
import pytest
from celery.exceptions import Reject, Retry, SoftTimeLimitExceeded

from predictd_celery import ArrayTask, RetryPolicy, array_task
from predictd_celery.claims import claim_check as claim_check_module
from predictd_proto.errors import ClaimStoreUnavailableError, ServerUnavailableError
from tests.celery.child_work import message_of, work
from tests.ports import free_port

BIG = np.arange(400, dtype=np.float32)
AWAY = ServerUnavailableError("nobody there")
QUICK = RetryPolicy(first_delay_s=0.001, max_delay_s=0.001)


@pytest.fixture
def app() -> Iterator[celery.Celery]:
    found = celery.Celery("tests", broker="memory://", backend="cache+memory://", set_as_current=False)
    found.conf.update(accept_content=["json", "predictd"], task_default_queue=f"queue-{id(found)}")
    yield found
    found.close()


def asking(app: celery.Celery, **options: Any) -> Any:
    """Return a task that is always to be retried."""

    @app.task(base=ArrayTask, bind=True, shared=False, retry_policy=options.pop("retry_policy", QUICK), **options)
    def always_later(self: ArrayTask, value: Any = None) -> None:
        del value
        self.retry_later(AWAY)

    return always_later


def no_broker(app: celery.Celery) -> None:
    app.conf.update(
        broker_url=f"redis://127.0.0.1:{free_port()}/0",
        task_publish_retry=False,
        broker_transport_options={"max_retries": 1, "interval_start": 0, "interval_step": 0},
    )


@pytest.mark.parametrize("acks_late", [True, False])
def test_a_retry_that_the_broker_does_not_take_loses_no_task(app: celery.Celery, acks_late: bool) -> None:
    no_broker(app)
    found = work(asking(app, acks_late=acks_late))
    if acks_late:
        assert isinstance(found, Reject)
        assert found.requeue
    else:
        assert found is AWAY


@pytest.mark.parametrize("acks_late", [True, False])
def test_a_retry_that_the_claim_store_does_not_take_loses_no_task(
    app: celery.Celery, claiming: None, monkeypatch: pytest.MonkeyPatch, acks_late: bool
) -> None:
    @app.task(base=ArrayTask, bind=True, shared=False, acks_late=acks_late, retry_policy=QUICK)
    def storing(self: ArrayTask, value: Any) -> None:
        monkeypatch.setenv("PREDICTD_CLAIM_STORE", f"redis://127.0.0.1:{free_port()}/0")
        monkeypatch.setattr(claim_check_module, "_current", None)
        self.retry_later(AWAY)

    found = work(storing, BIG)
    if acks_late:
        assert isinstance(found, Reject)
        assert found.requeue
    else:
        assert found is AWAY
        assert isinstance(found.__cause__, (Reject, ClaimStoreUnavailableError))


@pytest.mark.parametrize("wrong", [{1, 2}, object(), {"deep": [len]}])
def test_what_can_never_be_sent_fails_with_the_error_that_it_was_to_be_retried_for(
    app: celery.Celery, wrong: Any
) -> None:
    assert work(asking(app, acks_late=True), wrong) is AWAY


def test_an_array_that_can_never_be_sent_is_no_other_error_either(app: celery.Celery) -> None:
    masked = np.ma.masked_array([1.0, 2.0], [True, False])
    assert work(asking(app, acks_late=True), masked) is AWAY


def test_it_waits_before_it_goes_back_to_the_queue_but_not_for_long(
    app: celery.Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(array_task, "time", SimpleNamespace(sleep=waits.append))
    no_broker(app)
    work(asking(app, acks_late=True, name="tests.quick"))
    slow = RetryPolicy(first_delay_s=30.0, max_delay_s=30.0)
    work(asking(app, acks_late=True, name="tests.slow", retry_policy=slow))
    assert 0 < waits[0] <= 0.001
    assert waits[1:] == [array_task.LONGEST_PAUSE_S]


def test_a_soft_limit_ends_the_wait_and_not_the_task(app: celery.Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    def limited(_: float) -> None:
        raise SoftTimeLimitExceeded

    monkeypatch.setattr(array_task, "time", SimpleNamespace(sleep=limited))
    no_broker(app)
    found = work(asking(app, acks_late=True))
    assert isinstance(found, Reject)
    assert found.requeue


def test_enough_retries_are_still_enough(app: celery.Celery) -> None:
    assert work(asking(app, max_retries=2, acks_late=True), retries=2) is AWAY


def test_a_retry_is_written_as_its_message_was(app: celery.Celery) -> None:
    task = asking(app)
    array = np.array([1.5], np.float32)
    known = {"properties": {"content_type": "application/x-predictd"}}
    assert isinstance(work(task, {"set": {1, 2}, "array": array}, **known), Retry)
    message = message_of(app)
    assert message.content_type == "application/x-predictd"
    (value,), _, _ = message.decode()
    assert value["set"] == {1, 2}
    np.testing.assert_array_equal(value["array"], array)
    task = asking(app, serializer="predictd", name="tests.written")
    assert isinstance(work(task, [1], properties={"content_type": "application/json"}), Retry)
    assert message_of(app).content_type == "application/json"
    assert isinstance(work(task, [1]), Retry)
    assert message_of(app).content_type == "application/x-predictd"


def test_a_retry_with_arguments_of_its_own_is_written_as_the_task_s(app: celery.Celery) -> None:
    @app.task(base=ArrayTask, bind=True, shared=False, serializer="predictd")
    def once_more(self: ArrayTask, value: Any) -> None:
        raise self.retry(args=({value},), countdown=0)

    assert isinstance(work(once_more, 1, properties={"content_type": "application/json"}), Retry)
    (args, _, _) = message_of(app).decode()
    assert list(args) == [{1}]


def test_the_worker_tells_its_children_how_a_message_was_written(app: celery.Celery) -> None:
    from celery.utils.imports import symbol_by_name

    task = asking(app)
    task.apply_async(([1],), serializer="predictd")
    request = symbol_by_name(task.Request)(message_of(app), app=app, task=task)
    assert request.request_dict["properties"]["content_type"] == "application/x-predictd"
    assert request._context.headers is None or "properties" not in request._context.headers
