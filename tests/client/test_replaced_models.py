"""Models that are replaced by another version while clients remember how the one before was called."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest

import predictd
from predictd.testing import FakeModel, FakeServer, fake_server, new_endpoint

ROWS = ("float32", (None, 4))
Predict = Callable[[str, Any], Any]


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with fake_server() as server:
        yield server


@pytest.fixture(params=["client", "remote", "async", "submit"])
def predict(request: pytest.FixtureRequest, fake: FakeServer) -> Iterator[Predict]:
    """Every face of a client, as a function that returns the outputs."""
    if request.param == "async":
        client_of_loop = predictd.AsyncClient(fake.endpoint)

        async def ask(name: str, x: Any) -> Any:
            return (await client_of_loop.predict(name, x, cast=True)).outputs

        with closing(asyncio.new_event_loop()) as loop:
            yield lambda name, x: loop.run_until_complete(ask(name, x))
            loop.run_until_complete(client_of_loop.aclose())
        return
    with predictd.Client(fake.endpoint) as client:
        if request.param == "client":
            yield lambda name, x: client.predict(name, x, cast=True).outputs
        elif request.param == "submit":
            yield lambda name, x: client.submit(name, x, cast=True).result(60).outputs
        else:
            yield lambda name, x: predictd.RemoteModel(name, client=client).predict_on_batch(x)


@pytest.fixture
def remote(fake: FakeServer) -> Iterator[Callable[[str], predictd.RemoteModel]]:
    with predictd.Client(fake.endpoint) as client:
        yield lambda name: predictd.RemoteModel(name, client=client)


def after(count: int, do: Callable[[], object], answer: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """An answer that does something when it is given for the so-many-th time."""
    given: list[None] = []

    def counted(x: Any) -> Any:
        given.append(None)
        if len(given) == count:
            do()
        return answer(x)

    return counted


def scaled(version: int, factor: int, dtype: str = "float32", **fields: Any) -> FakeModel:
    return FakeModel(
        "m",
        inputs=ROWS,
        outputs=(dtype, (None, 4)),
        answer=lambda x: (x * factor).astype(dtype),
        version=version,
        **fields,
    )


def double(version: int, dtype: str = "float32", **fields: Any) -> FakeModel:
    return FakeModel("m", inputs=(dtype, (None, 4)), outputs=ROWS, answer=lambda x: x * 2, version=version, **fields)


def minus(version: int, order: str) -> FakeModel:
    """First input minus second, by names in this order."""
    return FakeModel(
        "p",
        inputs=dict.fromkeys(order, ROWS),
        input_structure=list(order),
        outputs=ROWS,
        answer=lambda given: given[0] - given[1],
        version=version,
    )


def test_inputs_in_another_order_are_matched_by_the_version_that_answers(fake: FakeServer, predict: Predict) -> None:
    pair = [np.full((2, 4), 10, np.float32), np.ones((2, 4), np.float32)]
    for version, order in enumerate(("ab", "ba", "ab"), 1):
        fake.models.put(minus(version, order))
        for _ in range(2):
            np.testing.assert_array_equal(predict("p", pair), np.full((2, 4), 9))


def test_inputs_in_a_nest_of_another_kind_are_matched_by_the_version_that_answers(
    fake: FakeServer, predict: Predict
) -> None:
    given = {"a": np.full((1, 4), 10, np.float32), "b": np.ones((1, 4), np.float32)}
    fake.models.put(minus(1, "ab"))
    assert predict("p", given)[0, 0] == 9
    swapped = FakeModel(
        "p",
        inputs=dict.fromkeys("ab", ROWS),
        input_structure={"a": "b", "b": "a"},
        outputs=ROWS,
        answer=lambda nest: nest["a"] - nest["b"],
        version=2,
    )
    fake.models.put(swapped)
    assert predict("p", given)[0, 0] == 9


def test_another_dtype_is_cast_to_at_the_first_call(fake: FakeServer, predict: Predict) -> None:
    fake.models.put(double(1))
    x = np.ones((1, 4), np.float32)
    predict("m", x)
    for version, dtype in enumerate(("float64", "int32", "float32"), 2):
        fake.models.put(double(version, dtype))
        assert predict("m", x)[0, 0] == 2


def test_what_the_new_version_refuses_is_refused_once(fake: FakeServer, predict: Predict) -> None:
    fake.models.put(double(1))
    predict("m", np.ones((1, 4), np.float32))
    fake.models.put(FakeModel("m", inputs=("float32", (None, 5)), outputs=ROWS, version=2))
    with pytest.raises(predictd.TensorMismatchError, match=r"version 2.*axis 1 has length 4, not 5"):
        predict("m", np.ones((1, 4), np.float32))


def test_another_number_of_inputs_is_told(fake: FakeServer, predict: Predict) -> None:
    pair = [np.ones((1, 4), np.float32)] * 2
    fake.models.put(minus(1, "ab"))
    predict("p", pair)
    fake.models.put(minus(2, "abc"))
    with pytest.raises(predictd.TensorMismatchError, match="version 2, inputs: expected a list of 3"):
        predict("p", pair)


def test_an_answer_by_a_version_that_is_gone_already_is_not_trusted(fake: FakeServer, predict: Predict) -> None:
    pair = [np.full((2, 4), 10, np.float32), np.ones((2, 4), np.float32)]
    fake.models.put(minus(1, "ab"))
    predict("p", pair)

    def answer(given: Any) -> Any:
        fake.models.remove("p", 3)
        return given[0] - given[1]

    gone = minus(3, "ba")
    gone.answer = answer
    fake.models.put(minus(2, "ba"))
    fake.models.put(gone)
    np.testing.assert_array_equal(predict("p", pair), np.full((2, 4), 9))


MANY = np.ones((200, 4), np.float32)


def test_rows_of_one_predict_are_answered_by_one_version(
    fake: FakeServer, remote: Callable[[str], predictd.RemoteModel]
) -> None:
    model, one = remote("m"), scaled(1, 2)
    one.answer = after(3, lambda: fake.models.put(scaled(2, 3)), one.answer)
    fake.models.put(one)
    np.testing.assert_array_equal(model.predict(MANY, batch_size=10, verbose=0), MANY * 2)
    np.testing.assert_array_equal(model.predict(MANY, batch_size=10, verbose=0), MANY * 3)
    np.testing.assert_array_equal(model.predict(iter([MANY[:5]] * 3), verbose=0), MANY[:15] * 3)


def test_many_rows_are_matched_by_the_version_that_is_served_now(
    fake: FakeServer, remote: Callable[[str], predictd.RemoteModel]
) -> None:
    model, pair = remote("p"), [MANY * 10, MANY]
    for version, order in enumerate(("ab", "ba"), 1):
        fake.models.put(minus(version, order))
        np.testing.assert_array_equal(model.predict(pair, batch_size=10, verbose=0), MANY * 9)
        np.testing.assert_array_equal(model.predict(iter([pair] * 2), verbose=0), np.full((400, 4), 9))
    fake.models.put(minus(3, "abc"))
    with pytest.raises(predictd.TensorMismatchError, match="version 3, inputs: expected a list of 3"):
        model.predict(pair, batch_size=10, verbose=0)


def test_a_label_that_moves_moves_no_predict_in_progress(fake: FakeServer) -> None:
    one = scaled(1, 2, labels=("best",))

    def move() -> None:
        fake.models.replace([scaled(1, 2), scaled(2, 3, labels=("best",))])

    one.answer = after(3, move, one.answer)
    fake.models.put(one)
    with predictd.Client(fake.endpoint) as client:
        model = predictd.RemoteModel("m", client=client, version="best")
        np.testing.assert_array_equal(model.predict(MANY, batch_size=10, verbose=0), MANY * 2)
        np.testing.assert_array_equal(model.predict(MANY, batch_size=10, verbose=0), MANY * 3)


def test_a_predict_begins_anew_where_its_version_is_taken_away(
    fake: FakeServer, remote: Callable[[str], predictd.RemoteModel]
) -> None:
    one = scaled(1, 2, "int32")
    one.answer = after(5, lambda: fake.models.replace([scaled(2, 3)]), one.answer)
    fake.models.put(one)
    outputs = remote("m").predict(MANY, batch_size=10, verbose=0)
    assert outputs.dtype == np.float32
    np.testing.assert_array_equal(outputs, MANY * 3)


def test_of_a_generator_it_says_what_happened(fake: FakeServer, remote: Callable[[str], predictd.RemoteModel]) -> None:
    one = scaled(1, 2)
    one.answer = after(5, lambda: fake.models.replace([scaled(2, 3)]), one.answer)
    fake.models.put(one)
    with pytest.raises(predictd.VersionNotFoundError, match="predict began with model 'm' version 1, which was taken"):
        remote("m").predict((MANY[:10] for _ in range(20)), verbose=0)


def test_a_version_that_was_asked_for_is_not_replaced_by_another(fake: FakeServer) -> None:
    one = scaled(1, 2)
    one.answer = after(5, lambda: fake.models.replace([scaled(2, 3)]), one.answer)
    fake.models.put(one)
    with (
        predictd.Client(fake.endpoint) as client,
        pytest.raises(predictd.VersionNotFoundError, match="no version or label 1"),
    ):
        predictd.RemoteModel("m", client=client, version=1).predict(MANY, batch_size=10, verbose=0)


def test_several_servers_with_different_versions_give_rows_of_one() -> None:
    places = [new_endpoint(), new_endpoint()]
    with (
        fake_server(scaled(1, 2), endpoint=places[0]),
        fake_server(scaled(2, 3), endpoint=places[1]),
        predictd.Client(places) as client,
    ):
        model = predictd.RemoteModel("m", client=client)
        for _ in range(4):
            assert len(np.unique(model.predict(MANY, batch_size=10, verbose=0))) == 1


def test_metadata_and_summary_tell_what_is_served_now(
    fake: FakeServer, remote: Callable[[str], predictd.RemoteModel]
) -> None:
    fake.models.put(scaled(1, 2))
    model = remote("m")
    loop = asyncio.new_event_loop()
    with predictd.Client(fake.endpoint) as client, closing(loop):
        client_of_loop = predictd.AsyncClient(fake.endpoint)
        for version in (1, 2, 3):
            fake.models.put(scaled(version, version))
            lines: list[str] = []
            model.summary(lines.append)
            assert f"version {version}" in lines[0]
            assert client.metadata("m").version == version
            assert loop.run_until_complete(client_of_loop.metadata("m")).version == version
        loop.run_until_complete(client_of_loop.aclose())
