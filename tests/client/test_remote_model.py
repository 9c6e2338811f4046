"""A remote model takes and gives what a Keras model does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import predictd
from predictd_proto.limits import Limits
from predictd_proto.messages import CancelRequest, PredictRequest
from predictd_proto.tensors import Tensor
from tests.client.fake_server import FLOAT_ROWS, FakeServer, answer, other_version, refuse, signature, silent

MANY = np.random.default_rng(7).normal(size=(500, 4))


@pytest.fixture
def model(server: FakeServer, client: predictd.Client) -> predictd.RemoteModel:
    return predictd.RemoteModel("double", client=client)


def twice(array: Any) -> np.ndarray:
    return np.asarray(array).astype(np.float32) * 2


def rows_that_came(server: FakeServer) -> list[int]:
    """Sorted: several requests are under way at once, each on a connection of its own, and arrive in any order."""
    return sorted(request.tensors[0].shape[0] for request in server.of(PredictRequest))


def test_predict_casts_as_keras_does(model: predictd.RemoteModel) -> None:
    for dtype in (np.float64, np.int64, np.uint8, np.float16, bool):
        x = np.ones((2, 4), dtype)
        outputs = model.predict(x)
        assert outputs.dtype == np.float32
        np.testing.assert_array_equal(outputs, twice(x))


def test_outputs_may_be_written_to(model: predictd.RemoteModel) -> None:
    for x in (MANY[:2], MANY):
        outputs = model.predict(x)
        outputs[:] = 0
        assert outputs.sum() == 0


class ArrayLike:
    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.ones((2, 4), dtype or np.float64)


@pytest.mark.parametrize("x", [ArrayLike(), [ArrayLike()], [[1, 1, 1, 1], [1, 1, 1, 1]], {"x": np.ones((2, 4))}])
def test_predict_takes_what_numpy_reads(model: predictd.RemoteModel, x: Any) -> None:
    np.testing.assert_array_equal(model.predict(x), np.full((2, 4), 2))


def test_predict_takes_data_frames(model: predictd.RemoteModel) -> None:
    pandas = pytest.importorskip("pandas")
    np.testing.assert_array_equal(model.predict(pandas.DataFrame(MANY)), twice(MANY))


class Batches:
    """Like `keras.utils.PyDataset`: a length and items."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, position: int) -> tuple[np.ndarray, str]:
        return MANY[position * 100 : (position + 1) * 100], "targets"


def plain_batches() -> Iterator[np.ndarray]:
    yield from np.split(MANY, 5)


def keras_batches() -> Iterator[tuple[np.ndarray]]:
    for batch in np.split(MANY, 5):
        yield (batch,)


@pytest.mark.parametrize("make", [Batches, plain_batches, keras_batches])
def test_predict_takes_batches_one_by_one(model: predictd.RemoteModel, make: Any) -> None:
    np.testing.assert_array_equal(model.predict(make()), twice(MANY))
    np.testing.assert_array_equal(model.predict(make(), steps=2), twice(MANY[:200]))


@pytest.mark.parametrize("batch", [np.float64(3), np.zeros(4), [np.zeros((2, 4)), np.zeros((3, 4))]])
def test_a_wrong_batch_of_a_generator_is_refused_with_the_reason(model: predictd.RemoteModel, batch: Any) -> None:
    with pytest.raises(predictd.TensorMismatchError, match="input 'x'"):
        model.predict(iter([MANY[:3], batch]))


def test_another_model_in_the_middle_is_an_error(server: FakeServer, model: predictd.RemoteModel) -> None:
    renamed = signature({"x": FLOAT_ROWS}, {"z": FLOAT_ROWS})

    def swap(request: PredictRequest) -> list[Any]:
        server.models = [other_version(server.models[0], 2, signatures=(renamed,))]
        swapped = answer(request, version=2)
        return [replace(swapped, tensors=(replace(swapped.tensors[0], name="z"),))]

    server.replies = [lambda request: [answer(request)], swap]
    with pytest.raises(predictd.RemoteProtocolError, match="answered with outputs 'z'; its metadata says 'y'"):
        model.predict(MANY, batch_size=100)


def test_an_endless_generator_needs_steps(model: predictd.RemoteModel) -> None:
    def endless() -> Iterator[np.ndarray]:
        while True:
            yield MANY[:3]

    assert model.predict(endless(), steps=4).shape == (12, 4)


def test_a_generator_without_batches_is_an_error(model: predictd.RemoteModel) -> None:
    with pytest.raises(predictd.TensorMismatchError, match="gave no batch"):
        model.predict(iter([]))


def test_steps_count_batches_of_an_array(model: predictd.RemoteModel) -> None:
    assert model.predict(MANY, batch_size=10, steps=3).shape == (30, 4)
    # As Keras: without a batch size, all rows are spread over the steps.
    assert model.predict(MANY, steps=3).shape == (500, 4)
    size, count = np.int64(250), np.int64(2)
    assert model.predict(MANY, batch_size=size, steps=count).shape == (500, 4)  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="x has 5 batches of 100 rows, fewer than steps=6"):
        assert model.predict(MANY, batch_size=100, steps=6).shape == (500, 4)


def test_no_rows_give_no_rows(model: predictd.RemoteModel) -> None:
    assert model.predict(np.zeros((0, 4))).shape == (0, 4)


def test_many_rows_go_as_many_requests(server: FakeServer, model: predictd.RemoteModel) -> None:
    np.testing.assert_array_equal(model.predict(MANY, batch_size=64), twice(MANY))
    assert rows_that_came(server) == [52] + [64] * 7


def test_chunks_are_full_batches_and_grow_with_a_fast_model(server: FakeServer, model: predictd.RemoteModel) -> None:
    # The fake server says 0.2 ms, whatever the rows are.
    model.predict(np.tile(MANY, (4, 1)))
    rows = rows_that_came(server)
    assert sum(rows) == 2000
    assert rows[0] == 8
    assert [count % 8 for count in rows].count(0) >= len(rows) - 1
    assert len(rows) < 20


def test_chunks_stay_below_the_servers_limits(server: FakeServer, model: predictd.RemoteModel) -> None:
    server.limits = Limits(max_rows=30)
    np.testing.assert_array_equal(model.predict(MANY, batch_size=100), twice(MANY))
    assert set(rows_that_came(server)) == {30, 20}


def test_even_a_few_rows_are_cut_for_a_server_that_takes_fewer(server: FakeServer, model: predictd.RemoteModel) -> None:
    server.limits = Limits(max_rows=3)
    np.testing.assert_array_equal(model.predict(MANY[:8]), twice(MANY[:8]))
    assert rows_that_came(server) == [2, 3, 3]


def test_chunks_stay_below_the_byte_limit(server: FakeServer, model: predictd.RemoteModel) -> None:
    server.limits = Limits(max_request_bytes=1000)
    np.testing.assert_array_equal(model.predict(MANY, batch_size=500), twice(MANY))
    assert set(rows_that_came(server)) == {31, 4}


def test_structures_are_those_of_the_model(server: FakeServer, client: predictd.Client) -> None:
    model = predictd.RemoteModel("pair", client=client)
    a, b = np.ones((300, 4)), np.ones((300, 2))
    for inputs in ([a, b], (a, b), {"a": a, "b": b}, {"a": a, "b": b, "unused": a}):
        outputs = model.predict(inputs, batch_size=128)
        np.testing.assert_array_equal(outputs["sum"], np.full(300, 4))
        np.testing.assert_array_equal(outputs["rest"][0], np.full((300, 2), 2))
        assert outputs["rest"][0].dtype == np.int32


def test_strings_are_chunked_too(server: FakeServer, client: predictd.Client) -> None:
    words = np.array([f"w{n}" for n in range(200)])
    outputs = predictd.RemoteModel("words", client=client).predict(words, batch_size=33)
    assert list(outputs) == [f"<w{n}>".encode() for n in range(200)]


def test_a_missing_last_axis_is_added(server: FakeServer, client: predictd.Client) -> None:
    model = predictd.RemoteModel("column", client=client)
    assert model.predict(np.zeros(500), batch_size=64).shape == (500, 1)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.zeros(4), "one sample without the axis of its rows? pass x[None]"),
        (np.float64(3), "a single number has no rows"),
        (np.zeros((500, 5)), "axis 1 has length 5, not 4"),
        ([[1, 2], [3]], "Rows of different lengths must be padded"),
        ({"y": MANY}, "expected a dict with 'x', got 'y'"),
    ],
)
def test_wrong_inputs_are_refused_with_the_reason(
    server: FakeServer, model: predictd.RemoteModel, x: Any, said: str
) -> None:
    with pytest.raises(predictd.TensorMismatchError) as caught:
        model.predict(x)
    assert said in str(caught.value)
    assert str(caught.value).startswith("model 'double' version 1, ")
    assert server.of(PredictRequest) == []


def test_different_row_counts_are_refused(server: FakeServer, client: predictd.Client) -> None:
    with pytest.raises(predictd.TensorMismatchError, match="'a' has 3, 'b' has 2"):
        predictd.RemoteModel("pair", client=client).predict([np.ones((3, 4)), np.ones((2, 2))])


def test_one_batch_is_one_request(server: FakeServer, model: predictd.RemoteModel) -> None:
    np.testing.assert_array_equal(model.predict_on_batch(MANY), twice(MANY))
    np.testing.assert_array_equal(model(MANY), twice(MANY))
    np.testing.assert_array_equal(model(MANY, training=False), twice(MANY))
    assert len(server.of(PredictRequest)) == 3


def test_a_served_model_does_not_train(model: predictd.RemoteModel) -> None:
    with pytest.raises(predictd.ConfigError, match="training=True is not possible"):
        model(MANY, training=True)


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"batch_size": 1.5}, {"steps": -1}, {"steps": True}])
def test_wrong_counts_are_told(model: predictd.RemoteModel, wrong: Any) -> None:
    with pytest.raises(predictd.ConfigError, match="expected a whole number of at least 1, or None"):
        model.predict(MANY, **wrong)


def test_an_endpoint_or_a_client_but_not_both(client: predictd.Client) -> None:
    with pytest.raises(predictd.ConfigError, match="not both"):
        predictd.RemoteModel("m", client=client, endpoint="tcp://127.0.0.1:1")


def test_shapes_and_names_are_those_of_keras(server: FakeServer, client: predictd.Client) -> None:
    double, pair = (predictd.RemoteModel(name, client=client) for name in ("double", "pair"))
    assert (double.name, double.input_names, double.output_names) == ("double", ["x"], ["y"])
    assert (double.input_shape, double.output_shape) == ((None, 4), (None, 4))
    assert pair.input_shape == [(None, 4), (None, 2)]
    # A dict's tensors go by their keys in alphabetical order, "rest" before "sum", as Keras flattens them.
    assert pair.output_shape == [(None, 2), (None,)]
    assert (pair.input_names, pair.output_names) == (["a", "b"], ["twice", "sum"])
    assert [spec.dtype for spec in pair.inputs] == ["float32", "int32"]
    assert double.count_params() == 12


def test_the_summary_tells_what_is_served(
    server: FakeServer, client: predictd.Client, endpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = predictd.RemoteModel("double", client=client)
    expected = [
        f'Model: "double", version 1, served at {endpoint}',
        "        Name  Dtype    Shape",
        "input   x     float32  (rows, 4)",
        "output  y     float32  (rows, 4)",
        "  State        ready",
        "  Signature    serving_default, runs as session",
        "  Batch sizes  1, 8",
        "  Parameters   12",
        "  Memory       unknown",
        "  Loaded in    0 ms, warmed up in 0 ms",
        "  Gate         no golden samples",
        "  Source       double",
    ]
    model.summary()
    assert capsys.readouterr().out.splitlines() == expected
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    assert lines == expected


def test_a_version_and_a_signature_may_be_fixed(server: FakeServer, client: predictd.Client) -> None:
    server.models = [other_version(server.models[0], 4, labels=("stable",))]
    server.replies = [lambda request: [answer(request, version=4)]]
    model = predictd.RemoteModel("double", client=client, version="stable", signature="serving_default")
    model.predict(MANY[:1])
    (request,) = server.of(PredictRequest)
    assert (request.version, request.signature) == ("stable", "serving_default")


def test_a_chunk_that_fails_for_now_is_sent_again(server: FakeServer, endpoint: str) -> None:
    server.replies = [
        lambda request: [answer(request)],
        refuse("overloaded"),
        refuse("overloaded"),
        lambda request: [answer(request)],
    ]
    with predictd.Client(endpoint, retries=predictd.Retries(first_pause_ms=1)) as client:
        outputs = predictd.RemoteModel("double", client=client).predict(MANY, batch_size=100)
    np.testing.assert_array_equal(outputs, twice(MANY))


def test_a_chunk_that_fails_for_good_ends_it_and_cancels_the_others(
    server: FakeServer, model: predictd.RemoteModel
) -> None:
    server.replies = [refuse("prediction_failed", "the model raised"), silent]
    with pytest.raises(predictd.PredictionError, match="the model raised"):
        model.predict(MANY, batch_size=100)
    assert len(server.wait_for(CancelRequest)) == 1
    assert len(server.of(PredictRequest)) == 2


def test_outputs_of_other_widths_cannot_be_joined(server: FakeServer, client: predictd.Client) -> None:
    model = predictd.RemoteModel("ragged", client=client)

    def growing() -> Iterator[np.ndarray]:
        for width in (3, 5):
            yield np.ones((2, width))

    with pytest.raises(predictd.TensorMismatchError, match=r"one chunk gives rows of shape \[3\], another \[5\]"):
        model.predict(growing())


def test_a_wrong_number_of_rows_back_is_a_fault_of_the_server(server: FakeServer, model: predictd.RemoteModel) -> None:
    def one_row(request: PredictRequest) -> list[Any]:
        return [replace(answer(request), tensors=(Tensor.from_array("y", np.zeros((1, 4), np.float32)),))]

    server.replies = [one_row, silent]
    with pytest.raises(predictd.RemoteProtocolError, match="100 rows were sent, the server answered 1"):
        model.predict(MANY, batch_size=100)
    assert len(server.wait_for(CancelRequest)) == 1


def test_a_short_list_of_rows_is_one_request_and_nothing_else(server: FakeServer, endpoint: str) -> None:
    model = predictd.RemoteModel("double", endpoint=endpoint)
    for _ in range(3):
        assert model.predict([[1.0, 2.0, 3.0, 4.0]]).tolist() == [[2.0, 4.0, 6.0, 8.0]]
        assert model.predict([(1, 2, 3, 4)] * 2).tolist() == [[2.0, 4.0, 6.0, 8.0]] * 2
    assert len(server.of(PredictRequest)) == 6
    assert len(server.asked) == 2  # a handshake and the signature, once


def test_a_list_of_one_list_for_each_input_is_no_list_of_rows(server: FakeServer, endpoint: str) -> None:
    model = predictd.RemoteModel("pair", endpoint=endpoint)
    given = [[[1.0, 2.0, 3.0, 4.0]], [[5, 6]]]
    assert model.predict(given)["sum"].tolist() == [10.0]
    assert model.predict([[[1.0] * 4] * 2, [[5] * 2] * 2])["rest"][0].tolist() == [[10, 10]] * 2
