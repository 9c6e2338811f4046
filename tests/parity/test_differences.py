"""Where a remote model differs from Keras, on purpose: the list in `RemoteModel`'s docstring, one test each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import predictd

pytestmark = [pytest.mark.integration, pytest.mark.tensorflow, pytest.mark.slow, pytest.mark.timeout(400)]

X = np.random.default_rng(4).normal(size=(20, 8)).astype("float32")
LEFT, RIGHT = X[:, :3].copy(), X[:, 3:7].copy()


def predict(x: Any, **options: Any) -> Any:
    return lambda model: model.predict(x, verbose=0, **options)


def close(got: Any, expected: Any) -> None:
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_each_difference_is_in_the_docstring() -> None:
    text = predictd.RemoteModel.__doc__ or ""
    listed = text.split("Differences from a Keras model:")[1].split("Args:")[0]
    assert len(re.findall(r"^ {4}- ", listed, re.MULTILINE)) == len(DIFFERENCES), "a test for each, and only for these"


def taken_more_forms(pair) -> None:
    both = pair("mlp")
    expected = both.remote.predict(X)

    class Batches:
        def __len__(self) -> int:
            return 2

        def __getitem__(self, position: int) -> np.ndarray:
            return X[position * 10 : position * 10 + 10]

    class ArrayOnly:
        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            return X

    for x in (X.tolist(), tuple(map(tuple, X)), list(X), memoryview(X.data), ArrayOnly(), Batches()):
        assert both.keras_error(predict(x)) is not None
        close(both.remote.predict(x), expected)
    assert both.keras_error(lambda model: model.predict((part for part in (X[:3], X[3:])), verbose=0)) is not None
    close(both.remote.predict(part for part in (X[:3], X[3:])), expected)
    close(both.remote.predict(iter([X[:3], X[3:]])), expected)
    for x in (np.array(["a cat", "dog"]), np.array([b"a cat", b"dog"]), ["a cat", "dog"]):
        assert pair("words").keras_error(predict(x)) is not None
        close(pair("words").remote.predict(x), pair("words").remote.predict(np.array(["a cat", "dog"], object)))


def taken_by_name(pair) -> None:
    both = pair("nested")
    x = {"left": LEFT, "right": RIGHT, "aa": LEFT}
    assert both.keras_error(predict(x)) is not None
    close(both.remote.predict(x)["pair"][1], both.remote.predict([LEFT, {"inner": RIGHT}])["pair"][1])
    # Keras takes more keys only where they come last in alphabetical order.
    assert pair("dicts").keras_error(predict(x)) is not None
    expected = pair("dicts").remote.predict({"left": LEFT, "right": RIGHT})
    close(pair("dicts").remote.predict(x)["score"], expected["score"])


def refused_nonsense(pair) -> None:
    both = pair("mlp")
    for x in ([X, X], X.astype("complex64")):
        assert both.keras_error(predict(x)) is None
        both.remote_refusal(predict(x))
    for wrong in ({"batch_size": 0}, {"steps": 0}, {"steps": True}):
        assert both.keras_error(predict(X, **wrong)) is None
        with pytest.raises(predictd.ConfigError, match="expected a whole number of at least 1, or None"):
            both.remote.predict(X, **wrong)
    uneven = {"left": LEFT[:3], "right": RIGHT}
    assert pair("dicts").keras_error(lambda model: model.predict_on_batch(uneven)) is None
    assert "'right' has 20, 'left' has 3" in pair("dicts").remote_refusal(lambda model: model.predict_on_batch(uneven))


def no_rows_give_no_rows(pair) -> None:
    both = pair("dicts")
    x = {"left": LEFT[:0], "right": RIGHT[:0]}
    assert both.keras_error(predict(x)) is not None
    answer = both.remote.predict(x)
    assert {name: (array.shape, array.dtype) for name, array in answer.items()} == {
        "score": ((0, 2), np.float32),
        "also": ((0, 1), np.float32),
    }


def fixed_batches_stay_fixed(pair) -> None:
    both = pair("fixed_rows")
    assert both.keras_error(predict(X[:6, :3])) is None
    assert "axis 0 has length 2, not 4" in both.remote_refusal(predict(X[:6, :3]))


def ragged_outputs_are_refused(pair) -> None:
    both = pair("sequences")

    def batches() -> Iterator[Any]:
        for length in (3, 5):
            yield (np.ones((2, length, 3), "float32"),)

    said = r"rows of shape \[3, 4\], another \[5, 4\]"
    with pytest.raises(predictd.TensorMismatchError, match=said):
        both.remote.predict(batches())


def not_a_number_stays_one(pair) -> None:
    both = pair("mlp")
    x = X[:2].copy()
    x[1] = np.nan
    # Keras' `predict` runs fused kernels here, which make 0 of it; its own `__call__` doesn't.
    assert np.isnan(np.asarray(both.local(x))[1]).all()
    assert np.isnan(both.remote.predict(x)[1]).all()
    close(both.remote.predict(x)[0], both.of_keras(predict(x))[0])


def doubles_are_not_shortened(pair) -> None:
    both = pair("doubles")
    x = np.full((1, 8), 1 / 3)
    exact = np.asarray(both.local(x))
    assert np.abs(both.remote.predict(x) - exact).max() < 1e-12
    assert np.abs(both.of_keras(predict(x)) - exact).max() > 1e-12


def quiet_where_keras_talks(pair, capsys) -> None:
    both = pair("mlp")
    both.remote.predict(X)
    both.remote.predict(np.tile(X, (100, 1)))
    assert capsys.readouterr().out == ""
    both.of_keras(lambda model: model.predict(X))
    assert capsys.readouterr().out != ""


def names_are_the_servers(pair) -> None:
    both = pair("unordered")
    assert both.remote.name == "unordered" != both.local.name
    assert sorted(both.remote.output_names) == sorted(both.remote.predict(both.rows(1)))
    assert both.remote.input_names == [tensor.name for tensor in both.local.inputs]
    assert not hasattr(both.local, "input_names")


def arrays_instead_of_tensors(pair) -> None:
    both = pair("mlp")
    assert type(both.remote(X)) is np.ndarray
    assert type(both.local(X)).__name__ == "EagerTensor"


def no_training_and_no_callbacks(pair) -> None:
    remote = pair("mlp").remote
    with pytest.raises(predictd.ConfigError, match="only infers"):
        remote(X, training=True)
    with pytest.raises(predictd.ConfigError, match="a served model calls none"):
        remote.predict(X, callbacks=[print])
    assert not hasattr(remote, "fit")
    assert not hasattr(remote, "layers")
    with pytest.raises(TypeError, match="mask"):
        remote(X, mask=None)
    with pytest.raises(TypeError, match="line_length"):
        remote.summary(line_length=80)


def no_state_between_calls(pair) -> None:
    """The refusal itself is `tests/models/test_ways_of_running.py`'s."""
    remote = pair("lstm").remote
    sequence = np.ones([1, *[axis or 5 for axis in remote.input_shape[1:]]], np.float32)
    np.testing.assert_array_equal(remote.predict(sequence), remote.predict(sequence))
    assert not hasattr(remote, "reset_states")


DIFFERENCES = [
    taken_more_forms,
    taken_by_name,
    refused_nonsense,
    no_rows_give_no_rows,
    fixed_batches_stay_fixed,
    ragged_outputs_are_refused,
    not_a_number_stays_one,
    doubles_are_not_shortened,
    quiet_where_keras_talks,
    names_are_the_servers,
    arrays_instead_of_tensors,
    no_training_and_no_callbacks,
    no_state_between_calls,
]


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.__name__)
def test_a_difference(pair, difference, request) -> None:
    arguments = {"capsys": request.getfixturevalue("capsys")} if difference is quiet_where_keras_talks else {}
    difference(pair, **arguments)
