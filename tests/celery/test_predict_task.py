"""What a task makes of Celery's request and of each error, without a worker and without a daemon."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import celery
import numpy as np
import pytest
from celery.exceptions import Retry

import predictd
from predictd_celery import PredictTask, base_task, decode_arrays, encode_arrays
from predictd_proto.errors import (
    ConfigError,
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
        self.is_repeating = True

    def without_retries(self) -> FakeClient:
        self.is_repeating = False
        return self

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
def task(app, client: FakeClient, monkeypatch: pytest.MonkeyPatch):
    app.loader.import_task_module("predictd_celery.tasks")
    found = app.tasks["predictd.predict"]
    monkeypatch.setattr(found, "client", client)
    monkeypatch.setattr(found, "max_retries", 2)
    return found


@pytest.fixture
def app():
    made = celery.Celery("tests", broker="memory://", backend="cache+memory://", set_as_current=False)
    yield made
    made.close()


@pytest.fixture
def no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task's clock stands still."""
    monkeypatch.setattr(base_task, "time", SimpleNamespace(monotonic=lambda: 1000.0))


def ask_for_one(self: PredictTask, timeout_ms: float | None = None) -> Any:
    return self.ask("m", [[1.0]], timeout_ms=timeout_ms)


def run(task, *args: Any, request: dict[str, Any] | None = None, **kwargs: Any) -> Any:
    """Run the task as a worker's child does, with this in its request."""
    task.push_request(id="t-1", called_directly=False, args=args, kwargs=kwargs, **(request or {}))
    try:
        return task(*args, **kwargs)
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
    assert (client.asked["task_id"], client.asked["task_name"]) == ("t-1", "predictd.predict")
    assert client.asked["caller_class"] == "images"
    assert client.asked["traceparent"] == trace
    run(task, "m", [[1.0]], request={"delivery_info": None, "traceparent": trace})
    assert (client.asked["caller_class"], client.asked["traceparent"]) == ("", trace)


def test_names_that_are_longer_than_the_wire_takes_are_cut(task, client: FakeClient, monkeypatch) -> None:
    monkeypatch.setattr(task, "name", "n" * 300)
    run(task, "m", [[1.0]], request={"delivery_info": {"routing_key": "q" * 300}})
    assert (client.asked["task_name"], client.asked["caller_class"]) == ("n" * 256, "q" * 256)


def test_a_task_that_is_called_as_a_function_is_no_task_to_the_daemon(task, client: FakeClient) -> None:
    task("m", [[1.0]])
    assert (client.asked["task_id"], client.asked["task_name"]) == ("", "")


def test_the_deadline_is_the_task_s(task, client: FakeClient, no_time_passes: None) -> None:
    run(task, "m", [[1.0]], request={"timelimit": [20, 10]})
    assert client.asked["timeout_ms"] == 9500
    run(task, "m", [[1.0]], timeout_ms=100, request={"timelimit": [20, 10]})
    assert client.asked["timeout_ms"] == 100
    run(task, "m", [[1.0]])
    assert client.asked["timeout_ms"] == client.timeout_ms


@pytest.mark.parametrize("wrong", ["5000", [5000], 0, float("nan"), True])
def test_a_timeout_that_is_none_names_itself(task, client: FakeClient, wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"timeout_ms: expected a number of milliseconds .* got"):
        run(task, "m", [[1.0]], timeout_ms=wrong)
    assert not client.asked


def test_the_app_s_timeout_holds_where_neither_call_nor_task_has_one(app, client: FakeClient, monkeypatch) -> None:
    app.conf.predictd_timeout_ms = 700
    monkeypatch.setattr(PredictTask, "client", client)

    class Own(PredictTask):
        abstract = True
        client: Any = FakeClient()

    asking = app.task(base=PredictTask, bind=True, name="tests.app", shared=False)(ask_for_one)
    own = app.task(base=Own, bind=True, name="tests.own", shared=False)(ask_for_one)
    run(asking)
    assert client.asked["timeout_ms"] == 700
    run(asking, timeout_ms=100)
    assert client.asked["timeout_ms"] == 100
    run(own)
    assert Own.client.asked["timeout_ms"] == Own.client.timeout_ms


def test_a_worker_reads_its_app_s_settings_once_and_others_each_time(
    app, client: FakeClient, no_time_passes: None
) -> None:
    asking = app.task(base=PredictTask, bind=True, name="tests.once", shared=False)(ask_for_one)
    asking.client = client
    for limit_s, in_worker_ms, here_ms in ((10, 9500, 9500), (5, 9500, 4500)):
        app.conf.task_soft_time_limit = limit_s
        run(asking)
        assert client.asked["timeout_ms"] == in_worker_ms
        asking()
        assert client.asked["timeout_ms"] == here_ms


def test_limits_count_from_the_start_whatever_hooks_a_task_has(app, client: FakeClient) -> None:
    class Hooked(PredictTask):
        abstract = True

        def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
            """Do something else."""

    def late(self: PredictTask) -> None:
        self.request.started_monotonic_s -= 4
        self.ask("m", [[1.0]])

    task = app.task(base=Hooked, bind=True, name="tests.late", shared=False, soft_time_limit=10)(late)
    task.client = client
    task.apply().get()
    assert client.asked["timeout_ms"] <= 5500


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


def test_in_a_worker_celery_repeats_and_the_client_does_not(task, client: FakeClient) -> None:
    run(task, "m", [[1.0]])
    assert not client.is_repeating


def test_where_no_worker_runs_it_the_client_repeats(task, client: FakeClient) -> None:
    task("m", [[1.0]])
    task.apply(("m", [[1.0]])).get()
    assert client.is_repeating


def test_a_retry_waits_no_longer_than_the_app_s_broker_allows(task, client: FakeClient) -> None:
    task.app.conf.broker_transport_options = {"visibility_timeout": 30}
    client.error = OverloadedError("full", {"retry_after_ms": 60_000})
    with pytest.raises(Retry) as raised:
        run(task, "m", [[1.0]])
    assert 1.5 <= raised.value.when <= 3


def test_without_an_end_of_retries_there_is_none(task, client: FakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "max_retries", None)
    client.error = ServerUnavailableError("nobody there")
    with pytest.raises(Retry):
        run(task, "m", [[1.0]], request={"retries": 5000})


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
