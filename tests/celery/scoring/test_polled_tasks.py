"""What a task failed with: its own, or a result backend that was away when its worker had the answer."""

from __future__ import annotations

import celery
import pytest
from celery.exceptions import BackendStoreError, SoftTimeLimitExceeded, WorkerLostError
from kombu.exceptions import OperationalError
from redis import exceptions as redis_errors

from predictd_celery.scoring.polled_tasks import PolledTasks
from predictd_proto.errors import DeadlineExceededError

UNSTORED = [
    BackendStoreError("failed to store result on the backend"),
    OperationalError("connection refused"),
    ConnectionResetError("reset by peer"),
    redis_errors.ConnectionError("connection refused"),
    redis_errors.TimeoutError("no answer"),
    redis_errors.ReadOnlyError("a replica"),
]
OWN = [
    DeadlineExceededError("no answer within 5 minutes"),
    FileNotFoundError("no such folder"),
    KeyError("rows"),
    MemoryError("too large"),
    SoftTimeLimitExceeded(),
    WorkerLostError("signal 9"),
]


@pytest.fixture
def tasks() -> PolledTasks:
    """Those of an app that connects to nothing."""
    return PolledTasks(celery.Celery("unused", backend="redis://127.0.0.1:1/0", set_as_current=False))


def stored(error: Exception) -> Exception:
    """Return a failure as it comes out of a result backend, which keeps JSON."""
    app = celery.Celery("stored", backend="cache+memory://", set_as_current=False)
    app.backend.mark_as_failure("task", error)
    with pytest.raises(Exception) as raised:  # noqa: PT011  (whichever it has become)
        app.AsyncResult("task").get()
    return raised.value


@pytest.mark.parametrize("error", UNSTORED, ids=lambda error: type(error).__name__)
def test_a_failed_store_is_no_failure_of_the_task(tasks: PolledTasks, error: Exception) -> None:
    assert tasks.is_unstored(stored(error))


@pytest.mark.parametrize("error", OWN, ids=lambda error: type(error).__name__)
def test_a_task_s_own_error_is_none_of_a_store(tasks: PolledTasks, error: Exception) -> None:
    assert not tasks.is_unstored(stored(error))


def test_of_results_that_are_messages_the_broker_s_errors_count() -> None:
    app = celery.Celery("unused", broker="amqp://127.0.0.1:1", backend="rpc://", set_as_current=False)
    tasks = PolledTasks(app)
    assert tasks.is_unstored(OperationalError("no route to host"))
    assert not tasks.is_unstored(FileNotFoundError("no such folder"))
