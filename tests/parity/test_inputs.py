"""What x may be: arrays of any kind and dtype, nests, frames, strings; taken, cast and refused as Keras does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = [pytest.mark.integration, pytest.mark.tensorflow, pytest.mark.slow, pytest.mark.timeout(400)]

RANDOM = np.random.default_rng(4)
X = RANDOM.normal(size=(20, 8)).astype("float32")
LEFT, RIGHT = X[:, :3].copy(), X[:, 3:7].copy()


def predict(x: Any) -> Any:
    return lambda model: model.predict(x, verbose=0)


def on_batch(x: Any) -> Any:
    return lambda model: model.predict_on_batch(x)


class ArrayLike:
    """What knows its shape and dtype, and becomes an array on demand."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.shape, self.dtype = array.shape, array.dtype

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.array if dtype is None else self.array.astype(dtype)


def _tensor(x: np.ndarray) -> Any:
    import tensorflow as tf

    return tf.constant(x)


def _variable(x: np.ndarray) -> Any:
    import tensorflow as tf

    return tf.Variable(x)


def _frame(x: np.ndarray) -> Any:
    return pytest.importorskip("pandas").DataFrame(x)


def _mixed_frame(x: np.ndarray) -> Any:
    columns = {f"c{i}": x[:, i] if i % 2 else (x[:, i] * 10).astype("int64") for i in range(x.shape[1])}
    return pytest.importorskip("pandas").DataFrame(columns)


def _sparse(x: np.ndarray) -> Any:
    return pytest.importorskip("scipy.sparse").csr_matrix(np.where(x > 0, x, 0))


FORMS: dict[str, Any] = {
    "float64": lambda x: x.astype("float64"),
    "float16": lambda x: x.astype("float16"),
    "int64": lambda x: (x * 10).astype("int64"),
    "uint8": lambda x: np.abs(x * 10).astype("uint8"),
    "bool": lambda x: x > 0,
    "list of one array": lambda x: [x],
    "tuple of one array": lambda x: (x,),
    "dict": lambda x: {"x": x},
    "dict with more": lambda x: {"x": x, "y": x},
    "array-like": ArrayLike,
    "tensor": _tensor,
    "variable": _variable,
    "frame": _frame,
    "mixed frame": _mixed_frame,
    "fortran": np.asfortranarray,
    "big-endian": lambda x: x.astype(">f4"),
    "strided": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "reversed": lambda x: x[::-1],
    "masked array": np.ma.masked_array,
}


@pytest.mark.parametrize("form", FORMS)
def test_an_array_in_any_form(pair, form: str) -> None:
    x = FORMS[form](X)
    pair("mlp").same(predict(x))
    pair("mlp").same(on_batch(x), is_fresh=False)


def test_a_sparse_matrix(pair) -> None:
    pair("mlp").same(predict(_sparse(X)))


def test_a_memory_map_is_only_read(pair, tmp_path: Path) -> None:
    path = tmp_path / "rows.f32"
    X.tofile(path)
    x = np.memmap(path, np.float32, "r", shape=X.shape)
    pair("mlp").same(predict(x))


def test_a_read_only_array_stays_as_it_is(pair) -> None:
    x = X.astype("float64")
    before = x.copy()
    x.setflags(write=False)
    pair("mlp").same(predict(x))
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("name", ["column", "scalars"])
@pytest.mark.parametrize("form", ["series", "flat", "column", "frame"])
def test_a_last_axis_of_one_may_be_missing_or_too_many(pair, name: str, form: str) -> None:
    pandas = pytest.importorskip("pandas")
    flat = X[:, 0].copy()
    x = {"series": pandas.Series(flat), "flat": flat, "column": flat[:, None], "frame": pandas.DataFrame(flat)}[form]
    pair(name).same(predict(x))
    if form in {"flat", "column"}:
        pair(name).same(on_batch(x))


TWO: dict[str, Any] = {
    "dict": {"left": LEFT, "right": RIGHT},
    "dict in another order": {"right": RIGHT, "left": LEFT},
    "dict with more": {"left": LEFT, "right": RIGHT, "zz": RIGHT},
}


@pytest.mark.parametrize("name", ["dicts", "two_inputs"])
@pytest.mark.parametrize("form", TWO)
def test_a_dict_goes_by_its_keys(pair, name: str, form: str) -> None:
    pair(name).same(predict(TWO[form]))
    pair(name).same(on_batch(TWO[form]), is_fresh=False)


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_list_goes_by_its_order(pair, kind: type) -> None:
    pair("two_inputs").same(predict(kind([RIGHT, LEFT])))
    pair("two_inputs").refused(predict(kind([LEFT, RIGHT])))


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_flat_list_stands_for_a_nest(pair, kind: type) -> None:
    pair("nested").same(predict(kind([LEFT, RIGHT])))
    pair("nested").same(predict([LEFT, {"inner": RIGHT}]))
    deep = pair("deep").rows(6)
    (a, b), c = deep["first"], deep["second"]
    pair("deep").same(predict(kind([a, b["x"], c])))


WRONG: dict[str, tuple[str, Any, str]] = {
    "another name": ("mlp", {"y": X}, "expected a dict with 'x', got 'y'"),
    "a short axis": ("mlp", X[:, :7], "axis 1 has length 7, not 8"),
    "one row without its axis": ("mlp", X[0], "pass x[None]"),
    "an axis too many": ("mlp", X[None], "expected float32[rows, 8] (rank 2), got float32[1, 20, 8] (rank 3)"),
    "a number": ("mlp", np.float32(1), "a single number has no rows"),
    "nothing": ("mlp", None, "expected float32[rows, 8]"),
    "text": ("mlp", "abc", "expected float32[rows, 8]"),
    "an empty list": ("mlp", [], "expected float32[rows, 8]"),
    "rows of different lengths": ("mlp", [[1, 2], [3]], "must be padded"),
    "dates": ("mlp", np.zeros((3, 8), "M8[s]"), "has no form on the wire"),
    "objects": ("mlp", X.astype(object), "an object array can't travel"),
    "numbers for words": ("words", np.ones(3), "can't be cast to string"),
    "a missing key": ("dicts", {"left": LEFT}, "expected a dict with 'right', 'left', got 'left'"),
    "a missing input": ("two_inputs", [RIGHT], "expected a list of 2 ('right', 'left'), got a list of 1"),
    "an input too many": ("two_inputs", [RIGHT, LEFT, LEFT], "got a list of 3"),
    "one array for two": ("two_inputs", RIGHT, "expected a list of 2 ('right', 'left'), got a ndarray"),
    "different rows": ("two_inputs", [RIGHT[:3], LEFT], "'right' has 3, 'left' has 20"),
    "a list for keys that are not sorted": ("unordered", [X[:, :2], X[:, :3], X[:, :4]], "expected a dict of 3"),
    "one sequence without its axis": ("masked", np.arange(5), "pass x[None]"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_keras_refuses_is_refused_with_the_reason(pair, what: str) -> None:
    name, x, said = WRONG[what]
    assert said in pair(name).refused(predict(x))


INTEGERS: dict[str, np.ndarray] = {
    "negative": -np.ones((2, 4), "int64"),
    "too large": np.full((2, 4), 300, "int64"),
    "far too large": np.full((2, 4), 2**40 + 3, "int64"),
    "fractions": np.full((2, 4), 1.7, "float32"),
    "negative fractions": np.full((2, 4), -1.7, "float64"),
    "bools": np.eye(2, 4, dtype=bool),
}


# A negative fraction as an unsigned number is undefined in C, and so in both.
@pytest.mark.parametrize(
    ("name", "what"),
    [("whole_numbers", what) for what in INTEGERS]
    + [("small_numbers", what) for what in INTEGERS if what != "negative fractions"],
)
def test_numbers_are_cast_to_whole_ones_as_keras_does(pair, name: str, what: str) -> None:
    pair(name).same(predict(INTEGERS[what]))


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32", "uint8", "bool"])
@pytest.mark.parametrize("name", ["halves", "doubles", "switches", "embedding", "pixels", "cnn"])
def test_any_dtype_for_any_model(pair, name: str, dtype: str) -> None:
    both = pair(name)
    x = both.rows(3).astype(dtype)
    both.same(predict(x))


def _text(words: list[str], form: str) -> Any:
    import tensorflow as tf

    array = np.array(words, dtype=object)
    return {"objects": array, "tensor": tf.constant(words), "objects of bytes": np.char.encode(words).astype(object)}[
        form
    ]


@pytest.mark.parametrize("form", ["objects", "tensor"])
def test_words(pair, form: str) -> None:
    x = _text(["cat dog", "a dog ran", "", "ä ö"], form)
    pair("words").same(predict(x))
    pair("words").same(on_batch(x))
