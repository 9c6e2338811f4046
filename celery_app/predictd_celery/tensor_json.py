"""Arrays in JSON, both ways, without pickle.

Owns the envelope in which an array travels through Celery's JSON serializer, and the plain numbers that it becomes for
consumers that are no Python. It knows nothing of Celery and keeps no state. Any thread.

The envelope is `{"__ndarray__": "<base64>", "dtype": "float32", "shape": [1, 10]}`; its bytes are laid out as on
predictd's wire (C order, little-endian; strings with their lengths), so every dtype of the wire survives bit for bit.

NaN and the infinities stay what they are. In an envelope they are bits like any others. Among plain numbers Python's
JSON writes them as `NaN`, `Infinity` and `-Infinity` and reads them back, as every Celery client in Python does; strict
parsers in other languages refuse these three words, and ask for the envelope instead.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictd_proto.errors import LocalProtocolError, RemoteProtocolError
from predictd_proto.tensors import Tensor, check_data, is_dtype

ENVELOPE = "__ndarray__"
_KEYS = frozenset((ENVELOPE, "dtype", "shape"))
_NUMBERS = frozenset((bool, float, int, str))


def encode_arrays(value: Any) -> Any:
    """Return a tree with each array in an envelope and each numpy scalar as a Python number.

    Args:
        value: Dicts, lists and tuples around arrays and whatever JSON carries.

    Raises:
        LocalProtocolError: An array's dtype can't travel.
    """
    return _map_leaves(value, _encode_leaf)


def decode_arrays(value: Any) -> Any:
    """Return a tree with each envelope as an array that owns its memory.

    Args:
        value: What `encode_arrays` returned, after any number of trips through JSON. Arrays among it stay as they are.

    Raises:
        RemoteProtocolError: An envelope can't be read; the text says why.
    """
    if is_envelope(value):
        return _decode(value)
    if not holds_arrays(value):
        return value
    if isinstance(value, Mapping):
        return {key: decode_arrays(item) for key, item in value.items()}
    return value if isinstance(value, np.ndarray) else [decode_arrays(item) for item in value]


def plain_numbers(value: Any) -> Any:
    """Return a tree with each array as nested lists of Python numbers, booleans or text.

    A float32 becomes the float of exactly its value: `np.float32(plain)` gives the same bits again.

    Raises:
        LocalProtocolError: JSON has no such number (complex), or bytes that are no UTF-8.
    """
    return _map_leaves(value, _plain_leaf)


def is_envelope(value: object) -> bool:
    """Whether this is an array in its envelope."""
    return isinstance(value, Mapping) and value.keys() == _KEYS


def holds_arrays(value: object) -> bool:
    """Whether there is an array, in its envelope or not, anywhere in the tree."""
    if isinstance(value, Mapping):
        return is_envelope(value) or any(map(holds_arrays, value.values()))
    if isinstance(value, (list, tuple)):
        # An image is some hundred thousand numbers: one look at their types, not one call for each.
        return not _NUMBERS.issuperset(map(type, value)) and any(map(holds_arrays, value))
    return isinstance(value, np.ndarray)


def _map_leaves(value: Any, leaf: Callable[[Any], Any]) -> Any:
    if isinstance(value, Mapping):
        return {key: _map_leaves(item, leaf) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_map_leaves(item, leaf) for item in value]
    return leaf(value)


def _encode_leaf(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        tensor = Tensor.from_array("array", value)
        text = base64.b64encode(tensor.data).decode("ascii")
        return {ENVELOPE: text, "dtype": tensor.dtype, "shape": list(tensor.shape)}
    return _plain_leaf(value)


def _plain_leaf(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain_array(np.asarray(value))
    return value


def _plain_array(array: NDArray[Any]) -> Any:
    if array.dtype.kind == "c":
        message = f"JSON has no complex numbers, got {array.dtype}{list(array.shape)}; ask for result='ndarray'"
        raise LocalProtocolError(message)
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if array.dtype.kind in "OS":
        return _map_leaves(array.tolist(), _text)
    return array.tolist()


def _text(value: object) -> object:
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        message = f"JSON carries text, got bytes that are no UTF-8 ({error}); ask for result='ndarray'"
        raise LocalProtocolError(message) from error


def _decode(envelope: Mapping[str, Any]) -> NDArray[Any]:
    dtype, shape, text = envelope["dtype"], envelope["shape"], envelope[ENVELOPE]
    if not is_dtype(dtype):
        message = f"array in JSON: unknown dtype {dtype!r}"
        raise RemoteProtocolError(message)
    if not isinstance(shape, (list, tuple)) or not all(type(axis) is int and axis >= 0 for axis in shape):
        message = f"array in JSON: expected a shape of whole numbers, got {str(shape)[:80]}"
        raise RemoteProtocolError(message)
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        message = f"array in JSON: its data is no base64 ({error})"
        raise RemoteProtocolError(message) from error
    tensor = Tensor("array", dtype, tuple(shape), data)
    check_data(tensor)
    return tensor.array()
