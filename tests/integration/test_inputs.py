"""Every kind of array that people pass, through a real daemon: a right answer or an error that says what to do."""

from __future__ import annotations

import numpy as np
import pytest

import predictd
from predictd_proto import errors

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def client(daemon):
    with daemon.client() as client:
        yield client


@pytest.fixture(scope="module")
def mlp(daemon):
    return predictd.RemoteModel("mlp", endpoint=daemon.endpoint)


def same(got, expected) -> None:
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_each_row_gets_the_answer_that_keras_gives(mlp, digits) -> None:
    x, y = digits
    same(mlp.predict(x), y)
    same(mlp.predict(x, batch_size=7), y)
    same(mlp.predict_on_batch(x[:3]), y[:3])
    same(mlp(x[:3]), y[:3])


@pytest.mark.parametrize(
    "form",
    [
        np.asfortranarray,
        lambda x: np.repeat(x, 2, axis=1)[:, ::2],
        lambda x: x[::-1][::-1],
        lambda x: x.astype(">f4"),
        lambda x: x.astype("float64"),
        lambda x: x.tolist(),
    ],
    ids=["fortran", "strided", "negative strides", "big-endian", "float64", "list"],
)
def test_remote_model_takes_any_layout_and_casts_as_keras_does(mlp, digits, form) -> None:
    x, y = digits
    same(mlp.predict(form(x[:9])), y[:9])


def test_a_read_only_array_is_fine_and_the_answer_is_writable_and_owned(mlp, digits) -> None:
    x = digits[0][:2].copy()
    x.setflags(write=False)
    answer = mlp.predict(x)
    assert answer.flags.writeable
    answer[:] = 0


@pytest.mark.parametrize("form", [np.asfortranarray, lambda x: x.astype(">f4"), lambda x: x[::2]])
def test_client_takes_any_layout_of_the_right_dtype(client, digits, form) -> None:
    x = digits[0][:4]
    expected = client.predict("mlp", np.ascontiguousarray(form(x).astype("float32"))).outputs
    same(client.predict("mlp", form(x)).outputs, expected)


def test_client_refuses_another_dtype_unless_told_to_cast(client, digits) -> None:
    x, y = digits
    with pytest.raises(errors.TensorMismatchError, match=r"pixels.*float32.*float64.*cast=True"):
        client.predict("mlp", x[:1].astype("float64"))
    same(client.predict("mlp", x[:1].astype("float64"), cast=True).outputs, y[:1])


def test_nan_and_inf_pass_through_unchanged(client) -> None:
    x = np.array([[[np.nan, np.inf, -np.inf, 1.5]]], np.float32)
    np.testing.assert_array_equal(client.predict("sequence", x).outputs, x * 2)


def test_no_rows_give_no_rows(client, mlp) -> None:
    assert client.predict("mlp", np.zeros((0, 64), np.float32)).outputs.shape == (0, 10)
    assert mlp.predict(np.zeros((0, 64), np.float32)).shape == (0, 10)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.float32(1.0), r"pixels.*float32\[rows, 64\]"),
        (np.zeros(64, np.float32), r"pixels.*float32\[rows, 64\].*\[64\].*x\[None\]"),
        (np.zeros((2, 63), np.float32), r"pixels.*float32\[rows, 64\].*\[2, 63\]"),
        (np.zeros((1, 1, 64), np.float32), r"pixels.*float32\[rows, 64\].*\[1, 1, 64\]"),
        (np.zeros((0, 3), np.float32), r"pixels.*float32\[rows, 64\].*\[0, 3\]"),
    ],
    ids=["0-d", "no rows axis", "wrong length", "wrong rank", "empty of another shape"],
)
def test_a_wrong_shape_names_the_tensor_what_was_expected_and_got(client, mlp, array, said) -> None:
    for call in (lambda: client.predict("mlp", array), lambda: mlp.predict(array)):
        with pytest.raises(errors.TensorMismatchError, match=said):
            call()


@pytest.mark.parametrize(
    "array",
    [np.array([[object()] * 64]), np.array([{"a": 1}]), np.array(["2020-01-01"], "M8[D]"), np.zeros(1, "i4,f4")],
    ids=["objects", "dicts", "dates", "records"],
)
def test_objects_dates_and_records_never_travel(client, array) -> None:
    with pytest.raises(predictd.PredictdError, match=r"pixels") as caught:
        client.predict("mlp", array)
    assert not caught.value.is_retryable


def test_unknown_names_say_what_there_is(client, digits) -> None:
    x = digits[0][:1]
    with pytest.raises(errors.ModelNotFoundError, match=r"mpl.*'mlp'"):
        client.predict("mpl", x)
    with pytest.raises(errors.VersionNotFoundError, match=r"version.*9.*1"):
        client.predict("mlp", x, version=9)
    with pytest.raises(errors.SignatureNotFoundError, match=r"train"):
        client.predict("mlp", x, signature="train")


def test_several_inputs_and_outputs_keep_their_names_and_nesting(daemon) -> None:
    two = predictd.RemoteModel("two", endpoint=daemon.endpoint)
    left, right = np.ones((3, 3), np.float32), np.full((3, 2), 5, np.int32)
    answer = two.predict({"left": left, "right": right})
    assert set(answer) == {"sum", "both"}
    np.testing.assert_array_equal(answer["both"], np.concatenate([left, right.astype(np.float32)], axis=1))


def test_free_axes_may_differ_between_requests(client) -> None:
    for length in (1, 5, 2):
        x = np.random.default_rng(length).normal(size=(2, length, 4)).astype(np.float32)
        np.testing.assert_array_equal(client.predict("sequence", x).outputs, x * 2)


def test_an_h5_model_is_served_like_any_other(client, digits) -> None:
    x, y = digits
    same(client.predict("legacy", x[:5]).outputs, y[:5])


def test_a_receipt_adds_up(client, digits) -> None:
    receipt = client.predict("mlp", digits[0][:3]).receipt
    assert (receipt.model, receipt.version, receipt.closed_by) == ("mlp", 1, "idle")
    assert receipt.batch_rows == 3
    assert receipt.padding_rows == 1
    assert receipt.execute_ms > 0


def test_a_request_over_the_limit_is_refused_before_it_is_sent(start_daemon, models, digits) -> None:
    daemon = start_daemon(models / "mlp.keras", "--max-request-bytes", 100_000)
    with daemon.client() as client, pytest.raises(errors.RequestTooLargeError, match="max_request_bytes"):
        client.predict("mlp", np.zeros((1000, 64), np.float32))
    x, y = digits
    same(predictd.RemoteModel("mlp", endpoint=daemon.endpoint).predict(np.tile(x, (10, 1))), np.tile(y, (10, 1)))


@pytest.mark.slow
def test_a_gigabyte_is_answered_or_refused_with_a_reason(daemon) -> None:
    rows = 10**9 // 256
    x = np.broadcast_to(np.linspace(0, 1, 64, dtype=np.float32), (rows, 64))
    answer = predictd.RemoteModel("mlp", endpoint=daemon.endpoint, timeout_ms=110_000).predict(x)
    assert answer.shape == (rows, 10)
    np.testing.assert_allclose(answer, np.broadcast_to(answer[0], answer.shape), rtol=1e-4, atol=1e-6)
    with daemon.client() as client, pytest.raises(errors.RequestTooLargeError, match="max_rows"):
        client.predict("mlp", x)
