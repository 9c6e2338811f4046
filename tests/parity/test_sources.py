"""Generators, `PyDataset`, `tf.data`: batches one by one, taken as Keras takes them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import predictd
from tests.parity.pair import assert_same

pytestmark = [pytest.mark.integration, pytest.mark.tensorflow, pytest.mark.slow, pytest.mark.timeout(400)]

X = np.random.default_rng(4).normal(size=(20, 8)).astype("float32")
PARTS = (X[:7], X[7:14], X[14:])


def predict(source: Callable[[], Any], **options: Any) -> Callable[[Any], Any]:
    return lambda model: model.predict(source(), verbose=0, **options)


def generated(make: Callable[[np.ndarray], Any]) -> Callable[[], Iterator[Any]]:
    return lambda: (make(part) for part in PARTS)


GENERATORS: dict[str, Callable[[], Any]] = {
    "(x,)": generated(lambda part: (part,)),
    "(x, y)": generated(lambda part: (part, part[:, 0])),
    "(x, y, w)": generated(lambda part: (part, part[:, 0], part[:, 0])),
    "({name: x},)": generated(lambda part: ({"x": part},)),
    "one batch": lambda: ((part,) for part in (X,)),
    "float64": generated(lambda part: (part.astype("float64"),)),
}


@pytest.mark.parametrize("name", GENERATORS)
def test_generators(pair, name: str) -> None:
    pair("mlp").same(predict(GENERATORS[name]))


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_steps_of_a_generator(pair, steps: int) -> None:
    pair("mlp").same(predict(GENERATORS["(x,)"], steps=steps))


def test_fewer_batches_than_steps_are_answered_with_a_warning(pair) -> None:
    both = pair("mlp")
    expected = both.of_keras(predict(GENERATORS["(x,)"], steps=5))
    with pytest.warns(UserWarning, match="x gave 3 batches, fewer than steps=5"):
        got = both.remote.predict(GENERATORS["(x,)"](), verbose=0, steps=5)
    assert_same(got, expected)


def test_the_batch_size_of_a_generator_is_its_own(pair) -> None:
    pair("mlp").same(predict(GENERATORS["(x,)"], batch_size=5))


def _data_set(items: list[Any], told: list[str] | None = None) -> Any:
    import keras

    class DataSet(keras.utils.PyDataset):  # type: ignore[misc]
        def __len__(self) -> int:
            return len(items)

        def __getitem__(self, position: int) -> Any:
            return items[position]

        def on_epoch_begin(self) -> None:
            if told is not None:
                told.append("begin")

        def on_epoch_end(self) -> None:
            if told is not None:
                told.append("end")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return DataSet()


DATA_SETS: dict[str, list[Any]] = {
    "x": list(PARTS),
    "(x,)": [(part,) for part in PARTS],
    "(x, y)": [(part, part[:, 0]) for part in PARTS],
    "{name: x}": [{"x": part} for part in PARTS],
}


@pytest.mark.parametrize("name", DATA_SETS)
def test_py_data_sets(pair, name: str) -> None:
    pair("mlp").same(predict(lambda: _data_set(DATA_SETS[name])))


def test_steps_of_a_py_data_set(pair) -> None:
    pair("mlp").same(predict(lambda: _data_set(DATA_SETS["x"]), steps=2))


def test_a_py_data_set_is_told_of_begin_and_end(pair) -> None:
    for model in (pair("mlp").local, pair("mlp").remote):
        told: list[str] = []
        model.predict(_data_set(DATA_SETS["x"], told), verbose=0)
        assert told == ["begin", "end"]


def test_a_py_data_set_may_tell_its_length_otherwise(pair) -> None:
    import keras

    class Counted(keras.utils.PyDataset):  # type: ignore[misc]
        @property
        def num_batches(self) -> int:
            return len(PARTS)

        def __getitem__(self, position: int) -> Any:
            return (PARTS[position],)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = Counted()
    pair("mlp").same(predict(lambda: data))


def _tf_data(*tensors: Any, size: int = 7) -> Any:
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(tensors[0] if len(tensors) == 1 else tensors).batch(size)


def test_tf_data(pair) -> None:
    pair("mlp").same(predict(lambda: _tf_data(X)))
    pair("mlp").same(predict(lambda: _tf_data(X, X[:, 0])))
    pair("mlp").same(predict(lambda: _tf_data(X), steps=2))
    pair("mlp").same(predict(lambda: _tf_data(X).repeat(), steps=4))
    pair("dicts").same(predict(lambda: _tf_data({"left": X[:, :3], "right": X[:, 3:7]})))


@pytest.mark.parametrize("name", ["dicts", "two_inputs"])
def test_several_inputs_go_as_a_dict(pair, name: str) -> None:
    def batches() -> Iterator[Any]:
        for start in (0, 5, 10):
            yield ({"left": X[start : start + 5, :3], "right": X[start : start + 5, 3:7]},)

    pair(name).same(predict(batches))


def test_a_tuple_of_two_is_inputs_and_targets_even_for_two_inputs(pair) -> None:
    def batches() -> Iterator[Any]:
        yield X[:, 3:7], X[:, :3]

    assert "expected a list of 2 ('right', 'left'), got a ndarray" in pair("two_inputs").refused(predict(batches))


def test_sequences_of_several_lengths(pair) -> None:
    items = [(np.ones((2, length, 4), "float32"),) for length in (3, 5, 9)]
    pair("lstm").same(predict(lambda: _data_set(items)))


def test_a_batch_that_is_no_batch_is_refused(pair) -> None:
    def rows() -> Iterator[Any]:
        for row in X:
            yield (row,)

    assert "pass x[None]" in pair("mlp").refused(predict(rows))
    with pytest.raises(predictd.TensorMismatchError, match="got a tuple of 4"):
        pair("mlp").remote.predict(generated(lambda part: (part,) * 4)(), verbose=0)


def test_a_generator_without_a_batch_is_refused(pair) -> None:
    nothing: tuple[np.ndarray, ...] = ()
    assert "gave no batch" in pair("mlp").refused(predict(lambda: (part for part in nothing)))
