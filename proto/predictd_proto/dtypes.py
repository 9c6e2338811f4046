"""Dtypes: the element types that travel, and which of them a numpy array has.

Owns the list of names and sizes. It reads and writes no element. Any thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from predictd_proto.errors import LocalProtocolError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: One-dimensional, one byte per item: what a frame and a tensor's data are.
Buffer = bytes | bytearray | memoryview

#: Bytes per element; a string has a length of its own.
DTYPE_BYTES: dict[str, int] = {
    "bool": 1,
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "uint8": 1,
    "uint16": 2,
    "uint32": 4,
    "uint64": 8,
    "float16": 2,
    "bfloat16": 2,
    "float32": 4,
    "float64": 8,
    "complex64": 8,
    "complex128": 16,
}
STRING = "string"
BFLOAT16 = "bfloat16"

#: Little-endian on every machine, as on the wire.
NUMPY_DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(name).newbyteorder("<") for name in DTYPE_BYTES if name != BFLOAT16
}

#: `dtype.name` is computed anew at each access (1.5 microseconds); a look-up takes 0.05.
WIRE_NAMES: dict[np.dtype[Any], str] = {dtype: name for name, dtype in NUMPY_DTYPES.items()}


def is_dtype(name: object) -> bool:
    """Whether the name is one of the wire's dtypes."""
    return isinstance(name, str) and (name in DTYPE_BYTES or name == STRING)


def wire_dtype(array: NDArray[Any], name: str) -> str:
    """Return the wire's name of an array's dtype, whatever its byte order.

    Args:
        array: The array; one of objects is looked through for strings.
        name: The tensor's name, for the error's text.

    Raises:
        LocalProtocolError: It has none; the text names the tensor and what to do.
    """
    dtype = array.dtype
    known = WIRE_NAMES.get(dtype)
    if known is not None:
        return known
    if dtype.name in DTYPE_BYTES:
        return dtype.name
    # "T" is numpy 2's own string type; its missing values are objects of any kind.
    if dtype.kind in "US" or (dtype.kind in "OT" and _first_alien(array) is None):
        return STRING
    if dtype.kind in "OT":
        text = (
            f"tensor {name!r}: an object array can't travel (nothing is ever pickled); "
            f"expected numbers or strings, got an element of type {_first_alien(array)}. "
            "Rows of different lengths end up as objects too: pad them to one length"
        )
    else:
        text = (
            f"tensor {name!r}: dtype {dtype} has no form on the wire; "
            f"expected one of {', '.join(DTYPE_BYTES)}, {STRING}; cast it with astype"
        )
    raise LocalProtocolError(text)


def _first_alien(array: NDArray[Any]) -> str | None:
    elements = array.reshape(-1).tolist()
    return next((type(item).__name__ for item in elements if not isinstance(item, (str, bytes))), None)
