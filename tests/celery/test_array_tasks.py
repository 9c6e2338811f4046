"""What `ArrayTask` makes of arguments and results, as a worker's child runs it, with a broker in memory."""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import celery
import numpy as np
import pytest

import predictd
from predictd.testing import FakeModel, FakeServer, in_process
from predictd_celery import ArrayTask, PredictTask, decode_arrays, encode_arrays, model_task, predict_task
from predictd_celery.claims.claim_check import claim_check
from predictd_celery.successors import successors
from predictd_celery.tensor_json import is_claim, is_envelope
from predictd_proto.errors import OverloadedError, PredictionError, ServerUnavailableError
from tests.celery.child_work import message_of, sent, work

DIGITS = FakeModel(
    "digits",
    inputs={"pixels": ("float32", (None, 4))},
    outputs={"scores": ("float32", (None, 4))},
    answer=lambda x: x * 2,
)
PIXELS = np.array([[255, 51, 0, 102]], np.float32)
BIG = np.arange(400, dtype=np.float32).reshape(100, 4)
AWAY = ServerUnavailableError("nobody there")


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with in_process(DIGITS) as found:
        yield found


@pytest.fixture(params=["json", "predictd"])
def serializer(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def app(serializer: str) -> Iterator[celery.Celery]:
    found = celery.Celery("tests", broker="memory://", backend="cache+memory://", set_as_current=False)
    found.conf.update(
        task_serializer=serializer,
        result_serializer=serializer,
        accept_content=["json", "predictd"],
        # Of the transport, which all apps of the process share.
        task_default_queue=f"queue-{id(found)}",
    )
    yield found
    found.close()


def own_array(app: celery.Celery, **options: Any) -> Any:
    """Return a task that gives its argument back and takes it from the next one."""

    @app.task(base=ArrayTask, name="tests.given", shared=False, **options)
    def given(value: Any = None) -> Any:
        return value

    return given


def test_a_retry_sends_what_came_and_not_what_the_task_has_made_of_it(
    app: celery.Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[np.ndarray] = []

    class Away(predictd.Client):
        def predict(self, model: str, inputs: Any, **_: Any) -> Any:
            asked.append(inputs.copy())
            raise AWAY

        def without_retries(self) -> Any:
            return self

    def scaled(x: np.ndarray) -> np.ndarray:
        x /= 255
        return x

    @predict_task("digits", app=app, prepare=scaled, client=Away())
    def digit(prediction: Any) -> Any: ...

    given = PIXELS.copy()
    digit.delay(given)
    for _ in range(3):
        args, words, _ = sent(app)
        np.testing.assert_array_equal(decode_arrays(args)[0], PIXELS)
        assert isinstance(work(digit, *args, words=words), Exception)
    for inputs in asked:
        np.testing.assert_array_equal(inputs, PIXELS / 255)
    np.testing.assert_array_equal(given, PIXELS)


# Results.


@pytest.mark.parametrize("kind", ["array", "prediction", "many"])
def test_large_outputs_of_a_model_go_to_the_claim_store(
    server: FakeServer, app: celery.Celery, claiming: None, kind: str
) -> None:
    @predict_task("digits", app=app)
    def answer(prediction: predictd.Prediction) -> Any:
        return {"array": prediction.outputs, "prediction": prediction, "many": {"all": [prediction, 1]}}[kind]

    stored = work(answer, BIG)
    found = stored["all"][0] if kind == "many" else stored
    if app.conf.result_serializer == "json":
        assert is_claim(found)
    assert np.shape(decode_arrays(found)) == (100, 4)
    np.testing.assert_array_equal(decode_arrays(found), BIG * 2)


def test_what_ask_many_returns_can_be_stored(server: FakeServer, app: celery.Celery) -> None:
    @app.task(base=PredictTask, bind=True, shared=False)
    def many(self: PredictTask, rows: Any) -> Any:
        return self.ask_many("digits", rows)

    # The client is the process's: it would keep its thread.
    with many.client, server.faults.refuse(PredictionError, times=1):
        outcomes = work(many, [PIXELS, PIXELS])
    failed = [outcome for outcome in outcomes if isinstance(outcome, dict)]
    answers = [outcome for outcome in outcomes if not isinstance(outcome, dict)]
    assert [one["error"]["type"] for one in failed] == ["PredictionError"]
    np.testing.assert_array_equal(answers, [PIXELS * 2])


@pytest.mark.parametrize("serializer", ["json"])
def test_predictions_and_errors_at_any_depth_are_results(app: celery.Celery) -> None:
    prediction = predictd.Prediction(np.array([[3.0]], np.float32), predictd.Receipt(model="m", version=3))
    error = OverloadedError("full", {"retry_after_ms": 250})

    @app.task(base=PredictTask, shared=False)
    def nested() -> Any:
        return {"all": [prediction, error, ("a", prediction)], "numbers": [1, 2.5]}

    stored = json.loads(json.dumps(work(nested)))
    facts = {"type": "OverloadedError", "code": "overloaded", "message": "full", "is_retryable": True}
    assert stored["all"] == [[[3.0]], {"error": {**facts, "detail": {"retry_after_ms": 250}}}, ["a", [[3.0]]]]
    assert stored["numbers"] == [1, 2.5]


def test_arguments_are_decoded_once(server: FakeServer, app: celery.Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    task = model_task("digits", app=app)
    pixels = [[[1.0, 2.0, 3.0, 4.0]] * 3]
    seen: list[Any] = []

    def look(leaf: Any) -> Any:
        seen.append(leaf)
        return leaf

    monkeypatch.setattr("predictd_celery.tensor_json._decoded_leaf", look)
    work(task, words={"prediction": pixels[0]})
    assert len(seen) == 1  # the dict of keyword arguments


def test_called_as_a_function_a_task_opens_envelopes_too(server: FakeServer, app: celery.Celery) -> None:
    task = own_array(app)
    np.testing.assert_array_equal(task(encode_arrays(PIXELS)), PIXELS)
    assert task(PIXELS) is PIXELS
    np.testing.assert_array_equal(model_task("digits", app=app)(encode_arrays(PIXELS)), PIXELS * 2)


# Other tasks.


def test_what_nobody_stores_goes_to_the_next_task_all_the_same(server: FakeServer, app: celery.Celery) -> None:
    @predict_task("digits", app=app, ignore_result=True)
    def whole(prediction: predictd.Prediction) -> Any:
        return prediction

    next_one = own_array(app)
    work(whole, PIXELS, chain=[dict(next_one.s())])
    args, _, _ = sent(app)
    np.testing.assert_array_equal(decode_arrays(args)[0], PIXELS * 2)
    assert decode_arrays(args)[0].dtype == np.float32
    np.testing.assert_array_equal(work(whole, PIXELS), PIXELS * 2)


@pytest.mark.parametrize("serializer", ["json"])
def test_tasks_of_others_get_plain_numbers(app: celery.Celery) -> None:
    @app.task(name="tests.plain", shared=False)
    def plain(value: Any) -> Any: ...

    task = own_array(app)
    sent = encode_arrays(PIXELS)
    assert work(task, sent, chain=[dict(plain.s())]) == PIXELS.tolist()
    assert work(task, sent, callbacks=[dict(plain.s()), dict(task.s())]) == PIXELS.tolist()
    assert work(task, sent, chain=[dict(app.signature("tests.elsewhere"))]) == PIXELS.tolist()
    assert is_envelope(work(task, sent, callbacks=[dict(task.s())]))


def test_who_takes_a_result_is_known_through_groups_chains_and_chords(app: celery.Celery) -> None:
    names = [f"tests.task{number}" for number in range(6)]
    a, b, c, d, e, f = (app.signature(name) for name in names)
    context = celery.app.task.Context
    assert successors(context({})) == set()
    assert successors(context({"chain": [f, celery.group([a, celery.chain(b, c)], app=app)]})) == set(names[:2])
    assert successors(context({"callbacks": [celery.chord([a, b], c, app=app), d]})) == {names[0], names[1], names[3]}
    assert successors(context({"chord": e, "callbacks": [a.set(immutable=True)]})) == {names[4]}


def test_signatures_keep_their_arrays(app: celery.Celery, claiming: None) -> None:
    task = own_array(app)
    for made in (task.s(PIXELS, BIG), task.si(PIXELS, BIG), task.signature((PIXELS, BIG)), task.subtask((PIXELS, BIG))):
        small, big = made.args
        assert is_envelope(small) == is_claim(big) == (app.conf.task_serializer == "json")
        for array, expected in ((small, PIXELS), (big, BIG)):
            np.testing.assert_array_equal(decode_arrays(array), expected)
    assert task.s(value=PIXELS).kwargs.keys() == {"value"}
    assert task.s(1, "two").args == (1, "two")


def test_a_signature_among_the_arguments_of_another_stays_one(app: celery.Celery) -> None:
    task = own_array(app)
    inner = task.s(PIXELS)
    assert task.s(inner).args[0] is inner
    assert task.s(value=inner).kwargs["value"] is inner


def test_celery_s_positional_words_are_taken(app: celery.Celery) -> None:
    assert own_array(app).apply_async((PIXELS,), {}, "an-id").id == "an-id"


def test_the_parent_tells_short_texts_and_opens_nothing(app: celery.Celery, claiming: None) -> None:
    from celery.worker.request import Request
    from kombu.utils.imports import symbol_by_name

    task = own_array(app)
    kind = symbol_by_name(task.Request)
    assert issubclass(kind, Request)
    task.delay(BIG)
    message = message_of(app)
    told = kind(message, app=app, task=task).info()
    assert told["args"].startswith("(<float32[100, 4] (1600 bytes), claimed>")
    assert told["kwargs"] == "{}"
    del message.headers["argsrepr"]
    assert len(kind(message, app=app, task=task).info()["args"]) < 300
    assert claim_check()._store is not None  # `delay`'s own
