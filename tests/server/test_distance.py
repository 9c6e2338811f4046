"""The distance of an answer from the expected one: what is told is there, what is not told is within the tolerance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from predictd_server.trials.distance import find_deviation

FLOATS = st.sampled_from([np.dtype(name) for name in ("float16", "float32", "float64", "complex64")])
SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4)
ANY = hnp.arrays(FLOATS, SHAPES) | hnp.arrays(
    st.sampled_from([np.dtype(name) for name in ("bool", "int8", "uint64", "S3")]), SHAPES
)


@given(ANY)
def test_every_array_equals_itself(array: Any) -> None:
    assert find_deviation(array, array.copy(), 0.0) is None


@given(hnp.arrays("float32", SHAPES, elements=st.floats(-1e6, 1e6, width=32)), st.data())
def test_the_one_value_beyond_the_tolerance_is_found(array: Any, data: st.DataObject) -> None:
    index = tuple(data.draw(st.integers(0, axis - 1)) for axis in array.shape)
    largest = float(np.abs(array).max())
    other = array.copy()
    other[index] += max(largest, 1.0) * 0.01
    deviation = find_deviation(array, other, 0.001)
    assert deviation is not None
    assert deviation.row == index[0]
    assert "off by" in deviation.text


@given(
    hnp.arrays("float64", SHAPES, elements=st.floats(-1e100, 1e100)),
    st.floats(1e-9, 0.5),
    st.integers(0, 2**32 - 1),
)
def test_whatever_is_within_the_tolerance_passes(array: Any, tolerance: float, seed: int) -> None:
    noise = np.random.default_rng(seed).uniform(-0.99, 0.99, array.shape) * tolerance * np.abs(array).max()
    assert find_deviation(array, array + noise, tolerance) is None


@given(hnp.arrays(FLOATS, SHAPES), hnp.arrays(FLOATS, SHAPES), st.floats(0, 10))
def test_an_answer_passes_only_if_each_value_is_close(one: Any, other: Any, tolerance: float) -> None:
    deviation = find_deviation(one, other, tolerance)
    if one.shape != other.shape or one.dtype != other.dtype:
        assert deviation is not None
        assert deviation.row is None
        return
    finite = np.isfinite(one)
    largest = max((abs(complex(value)) for value in one[finite].flat), default=0.0)
    allowed = (tolerance + 2 * float(np.finfo(one.dtype).eps)) * largest
    pairs = zip(one.flat, other.flat, strict=True)
    expected = all(_is_close(complex(a), complex(b), allowed) for a, b in pairs)
    assert (deviation is None) == expected


def _is_close(one: complex, other: complex, allowed: float) -> bool:
    if np.isfinite(one) and np.isfinite(other):
        return bool(np.abs(np.complex128(one) - np.complex128(other)) <= allowed)
    return bool(one == other or (np.isnan(one) and np.isnan(other)))


@given(hnp.arrays("int16", SHAPES), st.data())
def test_whole_numbers_are_equal_or_not(array: Any, data: st.DataObject) -> None:
    index = tuple(data.draw(st.integers(0, axis - 1)) for axis in array.shape)
    other = array.copy()
    other[index] ^= 1
    deviation = find_deviation(array, other, 1e9)
    assert deviation is not None
    assert deviation.row == index[0]
    assert deviation.text.startswith(f"1 of {array.size} values differ")


@pytest.mark.parametrize(
    ("expected", "got", "text"),
    [
        ([1.0, np.nan], [1.0, 2.0], "expected nan, got 2.0"),
        ([1.0, 2.0], [1.0, np.nan], "expected 2.0, got nan"),
        ([np.inf], [-np.inf], "expected inf, got -inf"),
        ([0.0], [1e-9], "allowed are 0:"),
    ],
)
def test_what_is_said_of_values_without_a_distance(expected: Any, got: Any, text: str) -> None:
    deviation = find_deviation(np.array(expected), np.array(got), 1e-4)
    assert deviation is not None
    assert text in deviation.text


def test_long_strings_are_cut() -> None:
    deviation = find_deviation(np.array([b"a" * 500], object), np.array([b"b"], object), 0.0)
    assert deviation is not None
    assert len(deviation.text) < 150
