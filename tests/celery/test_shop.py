"""A user's app in a real prefork worker beside a fake daemon: what reaches it, what comes back, what is revoked."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import celery
import pytest
from billiard.exceptions import WorkerLostError
from celery.exceptions import ChordError, TaskRevokedError

from predictd.testing import FakeModel, FakeServer, fake_server, new_endpoint
from predictd_celery.tasks import PREDICT_MANY, STATUS
from predictd_proto.errors import ModelNotFoundError, PredictionError, TensorMismatchError
from tests.celery.conftest import running_worker
from tests.celery.worker_events import Events
from tests.celery.worker_process import WorkerProcess

pytestmark = [pytest.mark.integration, pytest.mark.redis]

TASKS = "tests.celery.shop_tasks"
DIGIT, DIGITS = f"{TASKS}.digit", "predictd.model.digits"
MODEL = FakeModel(
    "digits",
    inputs={"pixels": ("float32", (None, 4))},
    outputs={"scores": ("float32", (None, 4))},
    answer=lambda x: x * 2,
)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeServer]:
    with fake_server(MODEL, endpoint=new_endpoint()) as server:
        yield server


@pytest.fixture(scope="module")
def shop(fake: FakeServer, new_broker_url) -> Iterator[WorkerProcess]:
    with running_worker(fake.endpoint, new_broker_url(), "-E", app=TASKS) as worker:
        package = worker.log_path.parent / "tensorflow"
        package.mkdir()
        (package / "__init__.py").write_text("")
        yield worker


@pytest.fixture(autouse=True)
def forget(fake: FakeServer) -> Iterator[None]:
    yield
    fake.reset()


def pixels(best: int) -> list[list[float]]:
    return [[1.0 if place == best else 0.0 for place in range(4)]]


def test_a_task_of_one_s_own_gets_the_prediction_and_returns_numpy(shop: WorkerProcess) -> None:
    assert shop.answer(shop.send(DIGIT, pixels(2), kwargs={"plus": 40})) == 42
    assert shop.answer(shop.send(DIGITS, pixels(1))) == [[0, 2, 0, 0]]


def test_the_daemon_is_told_the_task_s_id_name_queue_and_trace(shop: WorkerProcess, fake: FakeServer) -> None:
    result = shop.send(DIGIT, pixels(2), headers={"traceparent": TRACE})
    shop.answer(result)
    seen = fake.requests[-1]
    assert (seen.task_id, seen.task_name) == (result.id, DIGIT)
    assert (seen.caller_class, seen.traceparent) == ("celery", TRACE)


def test_chains_groups_and_chords(shop: WorkerProcess) -> None:
    sign = shop.app.signature
    both = celery.group([sign(DIGIT, (pixels(1),)), sign(DIGIT, (pixels(3),))], app=shop.app)
    assert shop.answer(both.apply_async()) == [1, 3]
    assert shop.answer(celery.chord(both, sign(f"{TASKS}.total"), app=shop.app)()) == 4
    chain = celery.chain(sign(DIGITS, (pixels(2),)), sign(DIGIT), app=shop.app)
    assert shop.answer(chain.apply_async()) == 2


def test_a_failing_member_of_a_group_and_of_a_chord_says_why(shop: WorkerProcess) -> None:
    sign = shop.app.signature
    both = celery.group([sign(DIGIT, (pixels(1),)), sign(DIGIT, ([[1.0]],))], app=shop.app)
    group = both.apply_async()
    with pytest.raises(TensorMismatchError, match=r"'pixels': expected float32\[rows, 4\]"):
        shop.answer(group)
    assert [result.state for result in group.results] == ["SUCCESS", "FAILURE"]
    chord = celery.chord(both, sign(f"{TASKS}.total"), app=shop.app)()
    with pytest.raises(TensorMismatchError, match="'pixels'"):
        shop.answer(chord)
    assert isinstance(chord.result, ChordError)
    assert re.search(r"Dependency .* raised TensorMismatchError\(.*'pixels'", str(chord.result))


def test_what_a_result_backend_and_a_monitor_see_of_an_error_is_readable_json(shop: WorkerProcess) -> None:
    with Events(shop) as events:
        result = shop.send("predictd.predict", "digitz", pixels(1))
        with pytest.raises(ModelNotFoundError, match="'digitz'"):
            shop.answer(result)
        event = json.loads(json.dumps(events.of(result, "task-failed")))
    assert "ModelNotFoundError(\"no model 'digitz' is served" in event["exception"]
    stored = json.loads(shop.app.backend.get(shop.app.backend.get_key_for_task(result.id)))
    assert stored["status"] == "FAILURE"
    assert (stored["result"]["exc_type"], stored["result"]["exc_module"]) == ("ModelNotFoundError", "predictd")
    message, detail = stored["result"]["exc_message"]
    assert "no model 'digitz' is served" in message
    assert detail["model"] == "digitz"


def test_many_inputs_in_one_message(shop: WorkerProcess, fake: FakeServer) -> None:
    many = [pixels(0), pixels(1) + pixels(2), [[1.0]], "no", pixels(3)]
    answers = shop.answer(shop.send(PREDICT_MANY, "digits", many))
    assert [answer.get("outputs") for answer in answers[:2]] == [[[2, 0, 0, 0]], [[0, 2, 0, 0], [0, 0, 2, 0]]]
    assert answers[4] == {"outputs": [[0, 0, 0, 2]]}
    for answer in answers[2:4]:
        assert (answer["error"]["type"], answer["error"]["is_retryable"]) == ("TensorMismatchError", False)
        assert "pixels" in answer["error"]["message"]
    fake.assert_asked("digits", times=3)


def test_of_many_inputs_only_what_failed_is_asked_again(shop: WorkerProcess, fake: FakeServer) -> None:
    with fake.faults.overload(retry_after_ms=1, times=5):
        answers = shop.answer(shop.send(PREDICT_MANY, "digits", [pixels(0)] * 20))
    assert answers == [{"outputs": [[2, 0, 0, 0]]}] * 20
    fake.assert_asked("digits", times=25)


def test_a_permanent_fault_of_some_is_told_for_each(shop: WorkerProcess, fake: FakeServer) -> None:
    with fake.faults.refuse(PredictionError("this one is odd", {"row": 0}), times=1, after=3):
        answers = shop.answer(shop.send(PREDICT_MANY, "digits", [pixels(0)] * 6, kwargs={"receipt": True}))
    assert sum("error" in answer for answer in answers) == 1
    (error,) = [answer["error"] for answer in answers if "error" in answer]
    expected = {"type": "PredictionError", "code": "prediction_failed", "message": "this one is odd"}
    assert error == {**expected, "detail": {"row": 0}, "is_retryable": False}
    assert all(answer["receipt"]["model"] == "digits" for answer in answers if "error" not in answer)


def test_the_status_by_a_task(shop: WorkerProcess, fake: FakeServer) -> None:
    told = shop.answer(shop.send(STATUS))
    assert (told["state"], told["endpoint"]) == ("ready", fake.endpoint)
    assert [model["name"] for model in told["models"]] == ["digits"]


def test_celery_alone_repeats(shop: WorkerProcess, fake: FakeServer) -> None:
    with fake.faults.overload(retry_after_ms=1, times=2):
        result = shop.send(DIGIT, pixels(1))
        assert shop.answer(result) == 1
    fake.assert_asked("digits", times=3)
    assert shop.log.count(f"{DIGIT}[{result.id}] retry") == 2


def test_a_retry_stays_in_its_trace(shop: WorkerProcess, fake: FakeServer) -> None:
    with fake.faults.overload(retry_after_ms=1, times=1):
        shop.answer(shop.send(DIGIT, pixels(1), headers={"traceparent": TRACE}))
    assert [seen.traceparent for seen in fake.requests] == [TRACE] * 2


def test_a_retry_that_is_revoked_asks_no_more(shop: WorkerProcess, fake: FakeServer) -> None:
    with fake.faults.overload(retry_after_ms=2000, times=1):
        result = shop.send(DIGIT, pixels(1))
        shop.wait_for_log(f"{DIGIT}[{result.id}] retry")
        result.revoke()
        with pytest.raises(TaskRevokedError):
            shop.answer(result)
    fake.assert_asked("digits", times=1)


def test_a_task_that_is_revoked_before_its_turn_is_never_asked(shop: WorkerProcess, fake: FakeServer) -> None:
    with fake.faults.delay(1500):
        running = [shop.send(DIGIT, pixels(2)) for _ in shop.children()]
        fake.wait_for_requests(len(running))
        waiting = shop.send(DIGIT, pixels(3))
        waiting.revoke()
        assert [shop.answer(result) for result in running] == [2, 2]
        with pytest.raises(TaskRevokedError):
            shop.answer(waiting)
    fake.assert_asked("digits", times=2)


def test_a_task_that_is_terminated_in_predict_is_not_handed_out_again(shop: WorkerProcess, fake: FakeServer) -> None:
    with fake.faults.delay(60_000, times=1):
        result = shop.send(DIGIT, pixels(2))
        fake.wait_for_requests(1)
        result.revoke(terminate=True)
        with pytest.raises(TaskRevokedError):
            shop.answer(result)
        assert shop.answer(shop.send(DIGIT, pixels(1))) == 1
    fake.assert_asked("digits", times=2)


def test_a_task_that_kills_its_child_is_run_again_but_not_for_ever(shop: WorkerProcess, tmp_path: Path) -> None:
    once = shop.send(f"{TASKS}.kill_children", 1, str(tmp_path / "once"))
    always = shop.send(f"{TASKS}.kill_children", 99, str(tmp_path / "always"))
    assert shop.answer(once) == 2
    with pytest.raises(WorkerLostError, match="exited prematurely: signal 9"):
        shop.answer(always)
    assert (tmp_path / "always").stat().st_size == 3
    assert shop.answer(shop.send(DIGIT, pixels(1))) == 1


def test_inspect_tells_what_the_worker_knows_of_the_daemon(shop: WorkerProcess, fake: FakeServer) -> None:
    def state() -> object:
        replies = shop.app.control.broadcast("predictd", reply=True, timeout=10, limit=1)
        return next(iter(replies[0].values()))["state"]

    shop.wait_until(lambda: state() == "ready", "the worker knows that the daemon is ready")
    with fake.faults.away():
        shop.wait_until(lambda: state() == "unreachable", "the worker knows that the daemon is gone")
    shop.wait_until(lambda: state() == "ready", "the worker knows that the daemon is back")
    assert f"predictd at {fake.endpoint} is ready" in shop.log
    assert f"predictd at {fake.endpoint} is unreachable: " in shop.log


def test_looks_let_no_task_into_the_pool_before_its_turn(fake: FakeServer, new_broker_url) -> None:
    settings = {"PREDICTD_HEALTH_INTERVAL_S": "0.02"}
    url, options = new_broker_url(), ["--prefetch-multiplier", "40"]
    with (
        running_worker(fake.endpoint, url, *options, app=TASKS, children=1, **settings) as worker,
        fake.faults.delay(20),
        fake.faults.delay(2500, times=1, after=19),
    ):
        results = [worker.send(DIGIT, pixels(1)) for _ in range(40)]
        fake.wait_for_requests(20)
        worker.app.control.revoke([result.id for result in results])
        worker.wait_until(lambda: all(result.ready() for result in results), "all are done or revoked")
    # What was in the pool already could not be revoked.
    fake.assert_asked("digits", times=20)


def test_the_parent_has_nothing_of_the_daemon(shop: WorkerProcess) -> None:
    for _ in range(8):
        shop.answer(shop.send(DIGIT, pixels(2)))
    assert any(sockets_and_threads(child.pid) for child in shop.children()), "a child that has asked is seen this way"
    assert sockets_and_threads(shop.process.pid) == set()


def sockets_and_threads(pid: int) -> set[str]:
    """What zmq makes in a process with a context: threads of its own, and descriptors that wake them."""
    process = Path(f"/proc/{pid}")
    threads = {path.read_text().strip() for path in process.glob("task/*/comm")}
    links = {os.readlink(path) for path in process.glob("fd/*") if path.is_symlink()}
    return {name for name in threads if name.startswith("ZMQ")} | {link for link in links if "eventfd" in link}


def test_a_task_that_imports_tensorflow_is_named(shop: WorkerProcess) -> None:
    assert "tensorflow/__init__.py" in shop.answer(shop.send(f"{TASKS}.import_tensorflow"))
    assert f"by {TASKS} (" in shop.log
    assert "TensorFlow was imported in a Celery worker" in shop.log


def test_without_a_daemon_many_inputs_are_retried_as_one(shop: WorkerProcess, fake: FakeServer) -> None:
    with fake.faults.away():
        result = shop.send(PREDICT_MANY, "digits", [pixels(0)] * 3, kwargs={"timeout_ms": 300})
        shop.wait_for_log(f"{PREDICT_MANY}[{result.id}] retry")
    assert shop.answer(result) == [{"outputs": [[2, 0, 0, 0]]}] * 3
