"""What a task makes of Celery's request and of each error, without a worker and without a daemon."""

from __future__ import annotations

import json
from typing import Any

import celery
import numpy as np
import pytest
from celery.exceptions import Retry

import predictd
from predictd_celery import PredictTask, decode_arrays, encode_arrays
from predictd_celery.retries import RetryPolicy
from predictd_proto.errors import (
    DeadlineExceededError,
    ModelNotFoundError,
    OverloadedError,
    ServerUnavailableError,
)


class FakeClient:
    """Answers with twice its input, or raises; remembers how it was asked."""

    timeout_ms = 30_000.0

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked: dict[str, Any] = {}

    def predict(self, model: str, inputs: Any, **asked: Any) -> predictd.Prediction:
        self.asked = {"model": model, "inputs": inputs, **asked}
        if self.error is not None:
            raise self.error
        receipt = predictd.Receipt(model=model, version=3, batch_rows=2)
        return predictd.Prediction(np.asarray(inputs, np.float32) * 2, receipt)


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def task(client: FakeClient, monkeypatch: pytest.MonkeyPatch):
    app = celery.Celery("tests", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.loader.import_task_module("predictd_celery.tasks")
    found = app.tasks["predictd.predict"]
    monkeypatch.setattr(found, "client", client)
    monkeypatch.setattr(found, "retry_policy", RetryPolicy(max_retries=2))
    yield found
    app.close()


def run(task, *args: Any, request: dict[str, Any] | None = None, **kwargs: Any) -> Any:
    """Run the task as a worker's child does, with this in its request."""
    task.push_request(id="t-1", called_directly=False, args=args, kwargs=kwargs, **(request or {}))
    try:
        return task.run(*args, **kwargs)
    finally:
        task.pop_request()


def test_numbers_in_numbers_out(task) -> None:
    answer = run(task, "m", [[1.5, 2.0]])
    assert json.dumps(answer) == "[[3.0, 4.0]]"


def test_arrays_in_arrays_out(task, client: FakeClient) -> None:
    sent = json.loads(json.dumps(encode_arrays(np.ones((1, 2), np.float32))))
    answer = json.loads(json.dumps(run(task, "m", sent, result="ndarray")))
    assert client.asked["inputs"].dtype == np.float32
    np.testing.assert_array_equal(decode_arrays(answer), [[2, 2]])


def test_the_receipt_on_request(task) -> None:
    answer = json.loads(json.dumps(run(task, "m", [[1.0]], receipt=True)))
    assert answer["outputs"] == [[2.0]]
    assert (answer["receipt"]["version"], answer["receipt"]["batch_rows"]) == (3, 2)


def test_another_kind_of_result_is_refused_before_anything_is_asked(task, client: FakeClient) -> None:
    with pytest.raises(ValueError, match=r"result='pickle': expected one of json, ndarray"):
        run(task, "m", [[1.0]], result="pickle")
    assert not client.asked


def test_the_daemon_is_told_who_asks(task, client: FakeClient) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    run(task, "m", [[1.0]], request={"delivery_info": {"routing_key": "images"}, "headers": {"traceparent": trace}})
    assert client.asked["task_id"] == "t-1"
    assert client.asked["caller_class"] == "images"
    assert client.asked["traceparent"] == trace
    run(task, "m", [[1.0]], request={"delivery_info": None, "traceparent": trace})
    assert (client.asked["caller_class"], client.asked["traceparent"]) == ("", trace)


def test_the_deadline_is_the_task_s(task, client: FakeClient) -> None:
    run(task, "m", [[1.0]], request={"timelimit": [20, 10]})
    assert client.asked["timeout_ms"] == pytest.approx(9500)
    run(task, "m", [[1.0]], timeout_ms=100, request={"timelimit": [20, 10]})
    assert client.asked["timeout_ms"] == 100
    run(task, "m", [[1.0]])
    assert client.asked["timeout_ms"] == client.timeout_ms


def test_without_time_left_nothing_is_asked(task, client: FakeClient) -> None:
    with pytest.raises(DeadlineExceededError, match=r"nothing was sent.*set by the task's expiry"):
        run(task, "m", [[1.0]], request={"expires": "2020-01-01T00:00:00+00:00"})
    assert not client.asked


def test_a_time_out_says_what_set_it(task, client: FakeClient) -> None:
    client.error = DeadlineExceededError("no answer in 4.5 s", {"waited_ms": 4500})
    with pytest.raises(DeadlineExceededError, match=r"4\.5 s \(the deadline was set by the task's soft") as raised:
        run(task, "m", [[1.0]], request={"timelimit": [None, 5]})
    assert raised.value.args == (raised.value.message, {"waited_ms": 4500})


def test_a_retryable_error_is_retried_when_the_server_says(task, client: FakeClient) -> None:
    client.error = OverloadedError("full", {"retry_after_ms": 4000})
    with pytest.raises(Retry) as raised:
        run(task, "m", [[1.0]])
    assert raised.value.exc is client.error
    assert 4 <= raised.value.when <= 6


def test_retries_end(task, client: FakeClient) -> None:
    client.error = ServerUnavailableError("nobody there")
    with pytest.raises(ServerUnavailableError):
        run(task, "m", [[1.0]], request={"retries": 2})


def test_a_retry_that_would_come_too_late_is_not_made(task, client: FakeClient) -> None:
    from datetime import datetime, timedelta, timezone

    client.error = OverloadedError("full", {"retry_after_ms": 9000})
    soon = (datetime.now(timezone.utc) + timedelta(seconds=5)).isoformat()
    with pytest.raises(OverloadedError):
        run(task, "m", [[1.0]], request={"expires": soon})


def test_a_permanent_error_fails_at_once(task, client: FakeClient) -> None:
    client.error = ModelNotFoundError("model 'm' is not served here", {"model": "m"})
    with pytest.raises(ModelNotFoundError) as raised:
        run(task, "m", [[1.0]])
    assert raised.value.args == ("model 'm' is not served here", {"model": "m"})


def test_called_as_a_function_it_raises_what_the_client_raises(task, client: FakeClient) -> None:
    client.error = ServerUnavailableError("nobody there")
    with pytest.raises(ServerUnavailableError):
        task("m", [[1.0]])


def test_eager_mode_answers_and_raises_without_a_worker(task, client: FakeClient) -> None:
    task.app.conf.task_always_eager = True
    result = task.delay("m", np.ones((1, 2), np.float32), result="ndarray")
    np.testing.assert_array_equal(decode_arrays(result.get()), [[2, 2]])
    client.error = ServerUnavailableError("nobody there")
    failed = task.delay("m", [[1.0]])
    assert failed.state == "FAILURE"
    with pytest.raises(ServerUnavailableError, match="nobody there"):
        failed.get()


def test_an_error_comes_back_whole_from_a_json_backend(task, client: FakeClient) -> None:
    client.error = OverloadedError("full", {"retry_after_ms": 250})
    with pytest.raises(OverloadedError) as raised:
        task("m", [[1.0]])
    stored = json.loads(json.dumps(task.backend.prepare_exception(raised.value, "json")))
    back = task.backend.exception_to_python(stored)
    assert isinstance(back, OverloadedError)
    assert (str(back), back.retry_after_ms) == ("full", 250)


def test_a_user_s_task_has_its_own_client() -> None:
    assert isinstance(PredictTask.client, predictd.Client)
    assert "time-out" in repr(PredictTask.client)
