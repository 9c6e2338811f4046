"""What is refused before anything is sent, and the words for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from predictd.requests.fitting import fit_inputs
from predictd.requests.structure_match import match_inputs
from predictd_proto.errors import TensorMismatchError
from predictd_proto.tensors import TensorSpec
from tests.client.fake_server import NAMED, PAIR, signature

FLOATS = TensorSpec("x", "float32", (None, 4))
BYTES = TensorSpec("x", "uint8", (None, 2))
WORDS = TensorSpec("s", "string", (None,))
COLUMN = TensorSpec("x", "float32", (None, 1))


def fitted(spec: TensorSpec, value: Any, *, cast: bool = False, is_lenient: bool = False) -> np.ndarray:
    (tensor,) = fit_inputs("model 'm'", (spec,), (value,), cast=cast, is_lenient=is_lenient)
    assert (tensor.name, tensor.dtype) == (spec.name, spec.dtype)
    return tensor.view()


def refused(spec: TensorSpec, value: Any, **options: Any) -> str:
    with pytest.raises(TensorMismatchError) as caught:
        fitted(spec, value, **options)
    assert str(caught.value).startswith("model 'm', ")
    return str(caught.value)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(8, dtype=">f4").reshape(2, 4),
        np.asfortranarray(np.arange(8, dtype=np.float32).reshape(2, 4)),
        np.arange(16, dtype=np.float32).reshape(2, 8)[:, ::2],
        np.broadcast_to(np.float32(3), (2, 4)),
        np.array([[np.nan, np.inf, -np.inf, 0]], np.float32),
        np.zeros((0, 4), np.float32),
    ],
    ids=["big-endian", "Fortran", "strided", "read-only", "not finite", "no rows"],
)
def test_any_layout_of_the_right_numbers_is_taken(array: np.ndarray) -> None:
    np.testing.assert_array_equal(fitted(FLOATS, array), array)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.zeros((2, 4)), "expected float32[rows, 4], got float64[2, 4]; pass cast=True"),
        (np.zeros((2, 4), int), "got int64[2, 4]; pass cast=True"),
        (np.zeros((2, 5), np.float32), "axis 1 has length 5, not 4"),
        (np.zeros(4, np.float32), "(rank 1): one sample without the axis of its rows? pass x[None]"),
        (np.zeros(3, np.float32), "expected float32[rows, 4] (rank 2), got float32[3] (rank 1)"),
        (np.float32(1), "(rank 0): a single number has no rows"),
        (None, "expected float32[rows, 4], got None"),
        ("hello", "expected float32[rows, 4], got 'hello'"),
        (b"hello", "expected float32[rows, 4], got b'hello'"),
        ({1, 2}, "expected float32[rows, 4], got {1, 2}"),
        (object(), "expected float32[rows, 4], got an object"),
        ((row for row in [[1.0]]), "got a generator: RemoteModel.predict and Client.map take those"),
        ([], ": nothing to tell a row's shape from; for no rows pass np.empty((0, 4), 'float32')"),
        ([np.zeros((2, 4), np.float32)] * 3, ": 3 arrays for one input? pass np.concatenate(x)"),
        (np.array([["a"] * 4]), "got string[1, 4], which can't be cast to float32"),
        (np.array([[object()] * 4]), "nothing is ever pickled"),
        (np.zeros((2, 4), "datetime64[s]"), "has no form on the wire"),
        ([[1, 2, 3, 4], [5]], "Rows of different lengths must be padded"),
    ],
)
def test_a_refusal_names_the_tensor_expected_and_got(value: Any, said: str) -> None:
    text = refused(FLOATS, value)
    assert said in text
    assert "'x'" in text


def test_the_facts_of_a_mismatch_are_there_for_programs() -> None:
    with pytest.raises(TensorMismatchError) as caught:
        fitted(FLOATS, np.zeros((2, 5), np.float32))
    assert caught.value.detail == {"tensor": "x", "expected": "float32[rows, 4]", "got": "float32[2, 5]"}


@pytest.mark.parametrize(
    "value", [np.ones((2, 4)), np.ones((2, 4), int), np.ones((2, 4), bool), np.ones((2, 4), ">i2")]
)
def test_numbers_are_cast_when_asked(value: np.ndarray) -> None:
    np.testing.assert_array_equal(fitted(FLOATS, value, cast=True), np.ones((2, 4), np.float32))


@pytest.mark.parametrize("value", [np.array([["a"] * 4]), np.ones((2, 4), complex)])
def test_a_cast_that_loses_the_meaning_is_refused(value: np.ndarray) -> None:
    assert "can't be cast to float32" in refused(FLOATS, value, cast=True)


def test_pythons_numbers_have_no_width_to_insist_on() -> None:
    np.testing.assert_array_equal(fitted(FLOATS, [[1, 2, 3, 4.5]]), np.array([[1, 2, 3, 4.5]], np.float32))
    np.testing.assert_array_equal(fitted(FLOATS, ((1, 2, 3, 4),)), np.array([[1, 2, 3, 4]], np.float32))
    np.testing.assert_array_equal(fitted(BYTES, [[0, 255]]), np.array([[0, 255]], np.uint8))


@pytest.mark.parametrize("value", [[[0, 256]], [[-1, 0]], [[0.5, 1]]])
def test_pythons_numbers_are_not_squeezed(value: Any) -> None:
    assert "pass cast=True" in refused(BYTES, value)


def test_a_list_of_arrays_keeps_its_dtype() -> None:
    assert "got float64[2, 4]" in refused(FLOATS, [np.zeros(4), np.zeros(4)])


def test_strings_are_taken_as_text_or_bytes() -> None:
    assert list(fitted(WORDS, ["ä", "b"])) == ["ä".encode(), b"b"]
    assert list(fitted(WORDS, np.array([b"a", b"bc"]))) == [b"a", b"bc"]
    assert list(fitted(WORDS, np.array(["a", b"b"], dtype=object))) == [b"a", b"b"]


def test_a_last_axis_of_one_is_added_or_dropped_only_where_keras_would() -> None:
    assert fitted(COLUMN, np.zeros(5, np.float32), is_lenient=True).shape == (5, 1)
    assert fitted(COLUMN, np.zeros((5, 1, 1), np.float32), is_lenient=True).shape == (5, 1)
    assert "(rank 1)" in refused(COLUMN, np.zeros(5, np.float32))
    assert "(rank 1)" in refused(FLOATS, np.zeros(4, np.float32), is_lenient=True)


def test_inputs_have_the_same_number_of_rows() -> None:
    specs = (FLOATS, TensorSpec("z", "float32", (None, 4)))
    with pytest.raises(TensorMismatchError, match="'x' has 2, 'z' has 3"):
        fit_inputs("m", specs, (np.zeros((2, 4), "f"), np.zeros((3, 4), "f")), cast=False, is_lenient=False)


PAIR_SPEC, NAMED_SPEC = PAIR.signatures[0], NAMED.signatures[0]
SINGLE_SPEC = signature({"x": ("float32", (None, 2))}, {"y": ("float32", (None, 2))})
NESTED_SPEC = signature(
    {"a": ("float32", (None,)), "b": ("float32", (None,)), "c": ("float32", (None,))},
    {"y": ("float32", (None,))},
    nest_in={"one": "c", "rest": ["a", "b"]},
)


@pytest.mark.parametrize("inputs", [["A", "B"], ("A", "B"), {"a": "A", "b": "B"}, {"b": "B", "a": "A"}])
def test_a_list_model_takes_lists_and_dicts_by_name(inputs: Any) -> None:
    assert match_inputs(PAIR_SPEC, inputs) == ["A", "B"]


def test_a_dict_model_takes_dicts_by_tensor_names_too() -> None:
    assert match_inputs(NAMED_SPEC, {"b": "B", "a": "A"}) == ["A", "B"]
    assert match_inputs(NAMED_SPEC, {"b": "B", "a": "A", "c": "C"}, is_lenient=True) == ["A", "B"]
    for inputs in ({"b": "B", "a": "A", "c": "C"}, {"a": "A", "left": "A"}, {"a": "A", "b": "B", "left": "C"}):
        with pytest.raises(TensorMismatchError, match="expected a dict with"):
            match_inputs(NAMED_SPEC, inputs)


def test_a_dict_model_takes_dicts() -> None:
    assert match_inputs(NAMED_SPEC, {"right": "B", "left": "A"}) == ["A", "B"]
    assert match_inputs(NESTED_SPEC, {"one": 1, "rest": [2, 3]}) == [2, 3, 1]


@pytest.mark.parametrize(
    ("spec", "inputs", "said"),
    [
        (PAIR_SPEC, np.zeros(3), "expected a list of 2 ('a', 'b'), got a ndarray"),
        (PAIR_SPEC, ["A"], "got a list of 1"),
        (PAIR_SPEC, {"a": 1}, "expected a dict with 'a', 'b', got 'a'"),
        (PAIR_SPEC, {"a": 1, "b": 2, "c": 3}, "got 'a', 'b', 'c'"),
        (NAMED_SPEC, ["A", "B"], "expected a dict of 2"),
        (NAMED_SPEC, {"left": 1, "write": 2}, "expected a dict with 'left', 'right'"),
        (NESTED_SPEC, {"one": 1, "rest": 2}, "expected a list of 2 ('a', 'b'), got a int"),
        (SINGLE_SPEC, {"y": 1}, "expected a dict with 'x', got 'y'"),
        (SINGLE_SPEC, {}, "got none"),
    ],
)
def test_another_nesting_is_refused_with_the_right_one(spec: Any, inputs: Any, said: str) -> None:
    with pytest.raises(TensorMismatchError) as caught:
        match_inputs(spec, inputs)
    assert said in str(caught.value)


def test_keras_leniency_ignores_unknown_keys_and_takes_lists_for_dicts() -> None:
    assert match_inputs(PAIR_SPEC, {"a": 1, "b": 2, "c": 3}, is_lenient=True) == [1, 2]
    assert match_inputs(NAMED_SPEC, ["A", "B"], is_lenient=True) == ["A", "B"]
    assert match_inputs(SINGLE_SPEC, {"x": 1, "weights": 2}, is_lenient=True) == [1]


def test_a_list_for_a_dict_whose_keys_are_not_sorted_is_ambiguous() -> None:
    pair = {"a": ("float32", (None,)), "b": ("float32", (None,))}
    unsorted = signature(pair, {"y": ("float32", (None,))}, nest_in={"right": "b", "left": "a"})
    with pytest.raises(TensorMismatchError, match=r"expected a dict of 2 \('b', 'a'\), got a list of 2"):
        match_inputs(unsorted, ["A", "B"], is_lenient=True)


def test_a_flat_list_of_arrays_stands_for_any_nest_as_keras_flattens_it() -> None:
    a, b, c = np.zeros(1), np.ones(1), np.full(1, 2.0)
    # "one" (c) before "rest" (a, b).
    found = match_inputs(NESTED_SPEC, [c, a, b], is_lenient=True)
    assert [value is wanted for value, wanted in zip(found, [a, b, c], strict=True)] == [True] * 3
    with pytest.raises(TensorMismatchError):
        match_inputs(NESTED_SPEC, [c, a, b])


def test_a_cast_of_numbers_that_do_not_fit_is_silent_as_in_keras() -> None:
    assert fitted(BYTES, np.array([[np.nan, 1e9]]), cast=True).dtype == np.uint8


def test_a_single_input_may_be_wrapped_in_a_list() -> None:
    array = np.zeros((3, 2), np.float32)
    assert match_inputs(SINGLE_SPEC, [array])[0] is array
    assert match_inputs(SINGLE_SPEC, [[1, 2]]) == [[[1, 2]]]
    assert match_inputs(SINGLE_SPEC, {"x": array})[0] is array
