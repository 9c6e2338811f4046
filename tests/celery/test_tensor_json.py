"""Arrays through JSON and back: every dtype bit for bit, and plain numbers that are what they were."""

from __future__ import annotations

import json
import math

import ml_dtypes
import numpy as np
import pytest

from predictd_celery import decode_arrays, encode_arrays
from predictd_celery.message_codec import encode
from predictd_celery.tensor_json import own_arrays, plain_numbers
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
    "tree",
    [
        [[1.0, 2.0]] * 3,
        {"a": [1], "b": "text"},
        {"__ndarray__": "", "dtype": "int8"},
        ([np.ones(1)], {"x": (np.float32(1), None)}),
    ],
)
def test_what_holds_nothing_to_decode_stays_the_same_tree(tree) -> None:
    assert decode_arrays(tree) is tree


def test_an_array_s_own_copy_is_asked_for() -> None:
    array, tree = np.ones(2), [[1.0], (2,)]
    given = {"array": array, "tree": tree}
    own = own_arrays(given)
    own["array"] /= 2
    assert array.tolist() == [1, 1]
    assert own["tree"] is tree
    assert decode_arrays(given)["array"] is array


@pytest.mark.parametrize(
    ("envelope", "says"),
    [
        ({"__ndarray__": "", "dtype": "object", "shape": [0]}, "unknown dtype 'object'"),
        ({"__ndarray__": "", "dtype": ["float32"], "shape": [0]}, "unknown dtype"),
        ({"__ndarray__": "", "dtype": "float32", "shape": [-1]}, "shape of whole numbers"),
        ({"__ndarray__": "", "dtype": "float32", "shape": "12"}, "shape of whole numbers"),
        ({"__ndarray__": "AAAA", "dtype": "uint8", "shape": [1] * 100}, "whole numbers, at most 32"),
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


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.complex64(1 + 2j), [1.0, 2.0]),
        (np.clongdouble(1 + 2j), [1.0, 2.0]),
        (1 + 2j, [1.0, 2.0]),
        (np.array([1 + 2j, 3], np.complex64), [[1.0, 2.0], [3.0, 0.0]]),
        (np.longdouble(0.5), 0.5),
        (np.array([0.5, 2], np.longdouble), [0.5, 2.0]),
        ({np.longdouble(0.5): 1, np.int64(3): 2, np.complex64(1j): 3}, {"0.5": 1, "3": 2, "1j": 3}),
        (np.datetime64("2020-01-02"), "2020-01-02"),
    ],
)
def test_every_number_of_numpy_has_a_form_in_json(value, expected) -> None:
    assert through_json(plain_numbers(value)) == expected
    if not isinstance(value, np.ndarray):
        assert through_json(encode_arrays(value)) == expected


def test_bytes_that_are_no_text_are_refused_with_the_way_out() -> None:
    with pytest.raises(LocalProtocolError, match="result='ndarray'"):
        plain_numbers(np.array([b"\xff"], object))


@pytest.mark.parametrize("write", [encode_arrays, plain_numbers, encode])
@pytest.mark.parametrize("array", [np.ma.masked_greater(np.arange(3), 1), np.ma.masked], ids=["array", "masked"])
def test_a_mask_is_not_lost_in_silence(write, array) -> None:
    with pytest.raises(LocalProtocolError, match=r"its mask would be lost.*\.filled\("):
        write([array])


def test_an_array_of_objects_is_refused_when_it_is_enqueued() -> None:
    with pytest.raises(LocalProtocolError, match="nothing is ever pickled"):
        encode_arrays({"x": np.array([object()])})
