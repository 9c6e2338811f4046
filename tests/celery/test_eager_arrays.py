"""Arrays where no worker runs the tasks: eager mode and `.apply()` hand on what a worker does."""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import celery
import numpy as np
import pytest

from predictd_celery import ArrayTask, decode_arrays

ONES = np.ones((2, 3), np.float32)
SEEN = ["ndarray", "float32", [2, 3]]


@pytest.fixture(params=["json", "predictd"])
def app(request: pytest.FixtureRequest) -> Iterator[celery.Celery]:
    found = celery.Celery("tests", broker="memory://", backend="cache+memory://", set_as_current=False)
    found.conf.update(task_always_eager=True, task_serializer=request.param, result_serializer=request.param)
    yield found
    found.close()


@pytest.fixture
def given(app: celery.Celery) -> Any:
    """A task that returns what it gets."""

    @app.task(base=ArrayTask, name="tests.given", shared=False)
    def given(value: Any) -> Any:
        return value

    return given


@pytest.fixture
def seen(app: celery.Celery) -> Any:
    """A task that tells what it gets, alone or in a list, and takes it for its own."""

    @app.task(base=ArrayTask, name="tests.seen", shared=False)
    def seen(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [seen.run(one) for one in value]
        found = [type(value).__name__, value.dtype.name, list(value.shape)]
        value += 1
        return found

    return seen


def test_the_next_task_of_a_chain_gets_an_array(given: Any, seen: Any) -> None:
    assert (given.s(ONES) | seen.s()).apply().get() == SEEN
    assert (given.s(ONES) | given.s() | seen.s()).delay().get() == SEEN


def test_the_body_of_a_chord_gets_arrays_of_its_own(given: Any, seen: Any) -> None:
    assert celery.chord([given.s(ONES), given.s(ONES)])(seen.s()).get() == [SEEN, SEEN]
    assert (given.s(ONES) | celery.group([seen.s(), seen.s()])).apply().get() == [SEEN, SEEN]
    np.testing.assert_array_equal(ONES, 1)


def test_a_linked_task_gets_an_array(app: celery.Celery, given: Any) -> None:
    kinds: list[str] = []

    @app.task(base=ArrayTask, name="tests.linked", shared=False)
    def linked(value: Any) -> None:
        kinds.append(f"{type(value).__name__} {value.dtype}")

    given.apply((ONES,), link=linked.s())
    assert kinds == ["ndarray float32"]


def test_a_result_is_what_a_worker_would_have_stored(app: celery.Celery, given: Any) -> None:
    found = given.delay({"best": ONES, "one": np.float32(1.5)}).get()
    if app.conf.result_serializer == "json":
        assert json.loads(json.dumps(found)) == {"best": ONES.tolist(), "one": 1.5}
    assert decode_arrays(found)["best"].dtype == np.float32


def test_a_task_of_others_gets_what_a_worker_would_hand_it(app: celery.Celery, given: Any) -> None:
    @app.task(name="tests.plain", shared=False)
    def plain(value: Any) -> bool:
        return isinstance(value, list)

    assert (given.s(ONES) | plain.s()).apply().get() == (app.conf.result_serializer == "json")
