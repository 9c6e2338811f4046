"""Arrays in JSON, both ways, without pickle.

Owns the envelope in which an array travels through Celery's JSON serializer, and the plain numbers that it becomes for
consumers that are no Python. It knows nothing of Celery, and of the claim store no more than how a claim is written.
Any thread.

The envelope is `{"__ndarray__": "<base64>", "dtype": "float32", "shape": [1, 10]}`; its bytes are laid out as on
predictd's wire (C order, little-endian; strings with their lengths), so every dtype of the wire survives bit for bit.

NaN and the infinities stay what they are. In an envelope they are bits like any others. Among plain numbers Python's
JSON writes them as `NaN`, `Infinity` and `-Infinity` and reads them back, as every Celery client in Python does; strict
parsers in other languages refuse these three words, and ask for the envelope instead.

An array in the claim store is `{"__claim__": [name, dtype, shape, bytes, expires_at]}`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictd_celery.claims.claim import received_shape
from predictd_celery.claims.claimed_array import ClaimedArray
from predictd_celery.message_tensors import message_tensor, refuse_mask
from predictd_celery.trees import map_leaves
from predictd_proto.errors import LocalProtocolError, RemoteProtocolError
from predictd_proto.tensors import Tensor, check_data, is_dtype

ENVELOPE = "__ndarray__"
CLAIM = "__claim__"
_KEYS = frozenset((ENVELOPE, "dtype", "shape"))
_CLAIM_KEYS = frozenset((CLAIM,))
_FLOAT_BYTES = 8
_WAY_OUT = "ask for result='ndarray', or take the serializer predictd"


def encode_arrays(value: Any) -> Any:
    """Return a tree with each array in an envelope and each numpy scalar as a Python number.

    Args:
        value: Dicts, lists and tuples around arrays and whatever JSON carries.

    Raises:
        LocalProtocolError: An array's dtype can't travel, or the array has a mask.
    """
    return map_leaves(value, enveloped_leaf, as_json=True)


def decode_arrays(value: Any) -> Any:
    """Return a tree with each envelope as an array that owns its memory, and each claimed array fetched.

    Args:
        value: What `encode_arrays` returned, after any number of trips through JSON, or what came by the serializer
            `predictd`. Arrays among it stay as they are.

    Raises:
        RemoteProtocolError: An envelope can't be read; the text says why.
        ClaimError: A claimed array can't be fetched.
    """
    return map_leaves(value, _decoded_leaf)


class ListedArray(list[Any]):
    """An array as nested lists, which remembers the array.

    What a task returns where no worker runs it: whoever asks for the result gets the lists that a worker's JSON would
    have made of it, the next task of a chain the array. A part of it, or a copy, is a plain list.

    Args:
        array: The array, of one axis or more.
    """

    def __init__(self, array: NDArray[Any]) -> None:
        super().__init__(_plain_array(array))
        self.array = array


def own_arrays(value: Any) -> Any:
    """Return what `decode_arrays` does, with copies of the arrays that came as they are."""
    return map_leaves(value, lambda leaf: leaf.copy() if isinstance(leaf, np.ndarray) else _decoded_leaf(leaf))


def plain_numbers(value: Any) -> Any:
    """Return a tree with each array as nested lists of Python numbers, booleans or text.

    A float32 becomes the float of exactly its value: `np.float32(plain)` gives the same bits again. A complex number
    becomes a list of its two parts.

    Raises:
        LocalProtocolError: Bytes are no UTF-8, or an array has a mask.
    """
    return map_leaves(value, plain_leaf, as_json=True)


def is_envelope(value: object) -> bool:
    """Whether this is an array in its envelope."""
    return isinstance(value, dict) and value.keys() == _KEYS


def is_claim(value: object) -> bool:
    """Whether this is what JSON has of an array in the claim store."""
    return isinstance(value, dict) and value.keys() == _CLAIM_KEYS


def enveloped_leaf(value: Any) -> Any:
    """Return what JSON has of a leaf, arrays in envelopes."""
    if isinstance(value, np.ndarray):
        tensor = message_tensor(value)
        text = base64.b64encode(tensor.data).decode("ascii")
        return {ENVELOPE: text, "dtype": tensor.dtype, "shape": list(tensor.shape)}
    return plain_leaf(value)


def listed_leaf(value: Any) -> Any:
    """Return what `plain_leaf` does, with lists that remember their arrays."""
    return ListedArray(value) if isinstance(value, np.ndarray) and value.ndim else plain_leaf(value)


def plain_leaf(value: Any) -> Any:
    """Return what JSON has of a leaf, arrays as nested lists."""
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain_array(np.asanyarray(value))
    if isinstance(value, complex):
        return [value.real, value.imag]
    return json_claim(value) if isinstance(value, ClaimedArray) else value


def json_claim(array: ClaimedArray) -> dict[str, Any]:
    """Return what JSON has of an array in the claim store."""
    return {CLAIM: array.claim.as_fields()}


def _decoded_leaf(value: Any) -> Any:
    if is_envelope(value):
        return _decoded(value)
    if is_claim(value):
        return ClaimedArray.from_fields(value[CLAIM]).array()
    if isinstance(value, ListedArray):
        # Several tasks may get the same.
        return value.array.copy()
    return value.array() if isinstance(value, ClaimedArray) else value


def _plain_array(array: NDArray[Any]) -> Any:
    refuse_mask(array)
    # First, and by its kind: a dtype's name is put together anew each time, 7 us of a small task's result.
    if array.dtype.kind in "fiub":
        # Of a longer float numpy's own conversion makes no float of Python's.
        return (array.astype(np.float64) if array.dtype.itemsize > _FLOAT_BYTES else array).tolist()
    if array.dtype.kind == "c":
        return np.stack([np.real(array), np.imag(array)], axis=-1).astype(np.float64).tolist()
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if array.dtype.kind in "mM":
        # As text: numpy's own conversion gives bare integers where the unit is a nanosecond.
        return array.astype(str).tolist()
    if array.dtype.kind in "OS":
        return map_leaves(array.tolist(), _text)
    return array.tolist()


def _text(value: object) -> object:
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        message = f"JSON carries text, got bytes that are no UTF-8 ({error}); {_WAY_OUT}"
        raise LocalProtocolError(message) from error


def _decoded(envelope: Mapping[str, Any]) -> NDArray[Any]:
    dtype, shape, text = envelope["dtype"], envelope["shape"], envelope[ENVELOPE]
    if not is_dtype(dtype):
        message = f"array in JSON: unknown dtype {dtype!r}"
        raise RemoteProtocolError(message)
    axes = received_shape(shape)
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        message = f"array in JSON: its data is no base64 ({error})"
        raise RemoteProtocolError(message) from error
    tensor = Tensor("array", dtype, axes, data)
    check_data(tensor)
    return tensor.array()
