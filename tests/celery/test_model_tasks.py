"""`predict_task` and `model_task`: the one rule, what is refused, and that they are tasks like any other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import celery
import numpy as np
import pytest

import predictd
from predictd.testing import FakeModel, FakeServer, in_process
from predictd_celery import PredictTask, decode_arrays, model_task, predict_task
from predictd_proto.errors import ConfigError, DeadlineExceededError, OverloadedError

DIGITS = FakeModel(
    "digits",
    inputs={"pixels": ("float32", (None, 4))},
    outputs={"scores": ("float32", (None, 4))},
    answer=lambda x: x * 2,
)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with in_process(DIGITS) as found:
        yield found


@pytest.fixture
def app() -> Iterator[celery.Celery]:
    found = celery.Celery("tests", broker="memory://", backend="cache+memory://", set_as_current=False)
    found.conf.task_always_eager = True
    yield found
    found.close()


def best(prediction: predictd.Prediction, least: float = 0.0, *, as_text: bool = False) -> Any:
    """Return where the best score is."""
    found = prediction.outputs[0].argmax() if prediction.outputs.max() > least else None
    return str(found) if as_text else found


def test_the_function_gets_the_prediction_for_the_inputs(server: FakeServer, app: celery.Celery) -> None:
    task = predict_task("digits", app=app)(best)
    assert task.delay([[0, 1, 5, 2]]).get() == 2
    assert task.delay([[0, 1, 5, 2]], 100.0).get() is None
    assert task.delay([[0, 1, 5, 2]], as_text=True).get() == "2"
    assert (task.name, task.__doc__) == (f"{__name__}.best", "Return where the best score is.")
    server.assert_asked("digits", times=3)


def test_arrays_go_as_they_are_and_numpy_comes_back_as_json(server: FakeServer, app: celery.Celery) -> None:
    @predict_task("digits", app=app)
    def all_kinds(prediction: predictd.Prediction, more: Any) -> Any:
        scores = prediction.outputs
        return {"array": scores, "number": scores.max(), "more": (more + 1, np.int64(3), np.bool_(1)), "none": None}

    found = all_kinds.delay(np.ones((1, 4), np.float32), np.arange(2)).get()
    expected = {"array": [[2.0] * 4], "number": 2.0, "more": [[1, 2], 3, True], "none": None}
    assert json.loads(json.dumps(found)) == expected


def test_a_prediction_that_is_returned_is_its_outputs(server: FakeServer, app: celery.Celery) -> None:
    @predict_task("digits", app=app)
    def whole(prediction: predictd.Prediction) -> Any:
        return prediction

    assert whole.delay([[1, 2, 3, 4]]).get() == [[2, 4, 6, 8]]


def test_inputs_are_prepared_where_the_task_runs(server: FakeServer, app: celery.Celery) -> None:
    task = predict_task("digits", app=app, prepare=lambda text: [[float(word) for word in text.split()]])(best)
    assert task.delay("1 9 3 4").get() == 1
    np.testing.assert_array_equal(server.requests[-1].inputs, [[1, 9, 3, 4]])


def test_in_a_chain_the_result_before_is_the_input(server: FakeServer, app: celery.Celery) -> None:
    @app.task
    def pixels() -> list[list[float]]:
        return [[0, 0, 0, 7]]

    task = predict_task("digits", app=app)(best)
    assert celery.chain(pixels.s(), task.s(as_text=True), app=app).apply().get() == "3"
    pair = celery.group([task.s([[1, 0, 0, 0]]), task.s([[0, 1, 0, 0]])], app=app)
    assert pair.apply().get() == [0, 1]


def test_every_word_reaches_the_daemon(server: FakeServer, app: celery.Celery) -> None:
    task = predict_task("digits", app=app, version=1, timeout_ms=4000, cast=True, name="shop.digit")(best)
    task.delay(np.ones((1, 4), np.float64)).get()
    seen = server.requests[-1]
    assert (seen.version, task.name) == (1, "shop.digit")
    assert 3000 < (seen.timeout_ms or 0) <= 4000


def test_celery_s_own_settings_hold(server: FakeServer, app: celery.Celery) -> None:
    task = predict_task("digits", app=app, soft_time_limit=3, max_retries=7)(best)
    task.delay([[0, 0, 0, 0]]).get()
    assert 0 < (server.requests[-1].timeout_ms or 0) <= 2700
    assert task.max_retries == 7
    assert isinstance(task, PredictTask)


def test_eagerly_the_client_repeats(server: FakeServer, app: celery.Celery) -> None:
    task = predict_task("digits", app=app)(best)
    with server.faults.overload(retry_after_ms=1, times=2):
        assert task.delay([[0, 0, 1, 0]]).get() == 2
    server.assert_asked("digits", times=3)


def test_called_as_a_function_it_asks_too(server: FakeServer, app: celery.Celery) -> None:
    assert predict_task("digits", app=app)(best)([[0, 0, 1, 0]]) == 2


def test_without_an_app_it_belongs_to_every_app(server: FakeServer, app: celery.Celery) -> None:
    predict_task("digits", name="tests.shared_best")(best)
    other = celery.Celery("other", broker="memory://", backend="cache+memory://", set_as_current=False)
    assert {"tests.shared_best"} <= set(app.tasks) & set(other.tasks)
    assert app.tasks["tests.shared_best"].delay([[3, 0, 0, 0]]).get() == 0
    other.close()


def test_a_model_s_own_task_in_one_line(server: FakeServer, app: celery.Celery) -> None:
    digits = model_task("digits", app=app)
    assert digits.name == "predictd.model.digits"
    assert digits.delay([[1, 2, 3, 4]]).get() == [[2, 4, 6, 8]]
    assert model_task("digits", app=app).name == digits.name
    assert model_task("digits", app=app, version=1).name == "predictd.model.digits.1"


def test_a_name_means_one_thing(app: celery.Celery) -> None:
    model_task("digits", app=app)
    with pytest.raises(ConfigError, match=r"a task 'predictd\.model\.digits' that asks otherwise"):
        model_task("digits", app=app, timeout_ms=5)
    assert model_task("digits", app=app, timeout_ms=5, name="quick").name == "quick"


def test_a_serializer_that_knows_arrays_gets_arrays(server: FakeServer, app: celery.Celery) -> None:
    app.conf.update(task_serializer="pickle", result_serializer="pickle", accept_content=["pickle"])
    got = model_task("digits", app=app).delay(np.ones((1, 4), np.float32)).get()
    assert isinstance(got, np.ndarray)
    assert decode_arrays(got) is got


@pytest.mark.parametrize("arguments", [(), ([[0.0]], 1, 2)])
def test_wrong_arguments_are_refused_where_they_are_enqueued(arguments, app: celery.Celery) -> None:
    with pytest.raises(TypeError, match="best"):
        predict_task("digits", app=app)(best).delay(*arguments)


async def a_coroutine(prediction: Any) -> None: ...


def a_generator(prediction: Any) -> Iterator[None]:
    yield


def no_parameter() -> None: ...


def a_default(prediction: Any = None) -> None: ...


def any_number(*predictions: Any) -> None: ...


def a_bound_task(self: PredictTask, prediction: Any) -> None: ...


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (a_bound_task, r"a_bound_task: expected no parameter 'self'.*base=PredictTask, bind=True.*self\.ask"),
        (a_coroutine, "a_coroutine: expected a plain function"),
        (a_generator, "a_generator: expected a plain function"),
        (no_parameter, r"no_parameter: its first parameter.*\(\)"),
        (a_default, "a_default: its first parameter"),
        (any_number, "any_number: its first parameter"),
        (lambda prediction: 1, "with a name"),
        (PredictTask, "with a name"),
        (None, "with a name"),
    ],
)
def test_a_function_that_can_be_no_such_task_is_refused(function, says: str) -> None:
    with pytest.raises(ConfigError, match=rf"predict_task\('digits'\): .*{says}"):
        predict_task("digits")(function)


@pytest.mark.parametrize(
    ("model", "options", "says"),
    [
        (best, {}, r'write @predict_task\("digits"\)'),
        ("", {}, "expected a model's name, got ''"),
        (None, {}, "expected a model's name, got None"),
        ("digits", {"prepare": 5}, "prepare: expected a function"),
        ("digits", {"bind": True}, "bind is its own"),
        ("digits", {"app": "tasks"}, "expected a Celery app or None, got 'tasks'"),
    ],
)
def test_wrong_words_are_refused(model, options, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        predict_task(model, **options)(best)


def test_errors_of_asking_are_those_of_the_base(server: FakeServer, app: celery.Celery) -> None:
    task = predict_task("digits", app=app, timeout_ms=50)(best)
    with server.faults.drop(times=1), pytest.raises(DeadlineExceededError, match="the call's timeout of 50 ms"):
        task.delay([[0, 0, 0, 0]]).get()
    with server.faults.overload(60_000), pytest.raises(OverloadedError):
        task.delay([[0, 0, 0, 0]]).get()
