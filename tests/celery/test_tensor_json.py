"""Arrays through JSON and back: every dtype bit for bit, and plain numbers that are what they were."""

from __future__ import annotations

import json
import math

import ml_dtypes
import numpy as np
import pytest

from predictd_celery import decode_arrays, encode_arrays
from predictd_celery.tensor_json import holds_arrays, plain_numbers
from predictd_proto.errors import LocalProtocolError, RemoteProtocolError


def through_json(value):
    return json.loads(json.dumps(value))


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3).astype(dtype)
        for dtype in ("bool", "int8", "int64", "uint64", "float16", "float32", "float64", "complex128")
    ]
    + [
        np.array([np.nan, np.inf, -np.inf, -0.0], np.float32),
        np.array([1.5, -2.0], ml_dtypes.bfloat16),
        np.array([[b"a", "ä"], [b"", b"\xff"]], object),
        np.zeros((0, 4), np.float32),
        np.array(3.5),
        np.arange(12, dtype=">i4").reshape(3, 4)[::2, ::-1],
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_an_array_survives_its_envelope_bit_for_bit(array) -> None:
    back = decode_arrays(through_json(encode_arrays(array)))
    if array.dtype == object:
        assert back.tolist() == [[b"a", "ä".encode()], [b"", b"\xff"]]
        return
    assert (back.dtype.name, back.shape) == (array.dtype.name, array.shape)
    assert back.tobytes() == np.ascontiguousarray(array).astype(array.dtype.newbyteorder("=")).tobytes()
    assert back.flags.writeable


def test_arrays_are_found_anywhere_in_a_tree_and_nothing_else_is_touched() -> None:
    tree = {"image": [np.ones(2), {"deep": (np.int64(7), "text", None)}], "plain": [[1, 2], [3.5, True]]}
    sent = through_json(encode_arrays(tree))
    back = decode_arrays(sent)
    assert back["image"][1] == {"deep": [7, "text", None]}
    assert back["plain"] == [[1, 2], [3.5, True]]
    np.testing.assert_array_equal(back["image"][0], [1, 1])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([[1.0, 2.0]] * 3, False),
        ({"a": [1], "b": "text"}, False),
        ([[1.0], {"__ndarray__": "", "dtype": "int8", "shape": [0]}], True),
        ({"a": [np.ones(1)]}, True),
        ({"__ndarray__": "", "dtype": "int8"}, False),
    ],
)
def test_whether_there_are_arrays(value, expected: bool) -> None:
    assert holds_arrays(value) is expected


@pytest.mark.parametrize(
    ("envelope", "says"),
    [
        ({"__ndarray__": "", "dtype": "object", "shape": [0]}, "unknown dtype 'object'"),
        ({"__ndarray__": "", "dtype": ["float32"], "shape": [0]}, "unknown dtype"),
        ({"__ndarray__": "", "dtype": "float32", "shape": [-1]}, "shape of whole numbers"),
        ({"__ndarray__": "", "dtype": "float32", "shape": "12"}, "shape of whole numbers"),
        ({"__ndarray__": "?", "dtype": "float32", "shape": [1]}, "no base64"),
        ({"__ndarray__": 5, "dtype": "float32", "shape": [1]}, "no base64"),
        ({"__ndarray__": "AAAA", "dtype": "float32", "shape": [1]}, "takes 4 bytes, got 3"),
        ({"__ndarray__": "", "dtype": "float32", "shape": [1 << 40, 1 << 40]}, "bytes, got 0"),
    ],
)
def test_a_bad_envelope_is_refused_before_anything_is_allocated(envelope, says: str) -> None:
    with pytest.raises(RemoteProtocolError, match=says):
        decode_arrays([envelope])


def test_plain_numbers_are_python_numbers_of_exactly_the_same_value() -> None:
    values = np.array([0.1, 1 / 3, 1e-45], np.float32)
    plain = through_json(plain_numbers({"scores": values, "count": np.int64(3)}))
    assert plain["count"] == 3
    np.testing.assert_array_equal(np.float32(plain["scores"]), values)
    assert plain_numbers(np.array([1.5], ml_dtypes.bfloat16)) == [1.5]
    assert plain_numbers(np.array([b"seven", "eight"], object)) == ["seven", "eight"]


def test_nan_and_the_infinities_stay_what_they_are() -> None:
    nan, infinity, minus = through_json(plain_numbers(np.array([np.nan, np.inf, -np.inf], np.float32)))
    assert math.isnan(nan)
    assert (infinity, minus) == (math.inf, -math.inf)


@pytest.mark.parametrize("array", [np.ones(2, np.complex64), np.array([b"\xff"], object)])
def test_what_json_has_no_word_for_is_refused_with_the_way_out(array) -> None:
    with pytest.raises(LocalProtocolError, match="result='ndarray'"):
        plain_numbers(array)


def test_an_array_of_objects_is_refused_when_it_is_enqueued() -> None:
    with pytest.raises(LocalProtocolError, match="nothing is ever pickled"):
        encode_arrays({"x": np.array([object()])})
