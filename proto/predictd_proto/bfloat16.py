"""bfloat16 on the wire: the upper half of a float32, in two bytes.

Owns this one layout, with and without the package ml_dtypes, which gives numpy a bfloat16 and which TensorFlow brings.
It never requires it. Any thread.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from predictd_proto.dtypes import BFLOAT16, Buffer

if TYPE_CHECKING:
    from numpy.typing import NDArray


@functools.cache
def bfloat16_dtype() -> np.dtype[Any] | None:
    """Return numpy's bfloat16; None where ml_dtypes is not installed."""
    try:
        import ml_dtypes
    except ImportError:
        return None
    dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return dtype


def bfloat16_from_bytes(data: Buffer, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return data as bfloat16, or as float32, which holds each of its values exactly, where numpy has no bfloat16."""
    dtype = bfloat16_dtype()
    bits = np.frombuffer(data, "<u2")
    if dtype is not None:
        return bits.astype("=u2", copy=False).view(dtype).reshape(shape)
    wide = bits.astype("=u4") << np.uint32(16)
    return wide.view("=f4").reshape(shape)


def bfloat16_to_bytes(array: NDArray[Any]) -> bytes:
    """Return numbers as bfloat16, rounded to nearest, ties to even (IEEE 754-2019, 4.3.1); a NaN stays a NaN."""
    if array.dtype.name == BFLOAT16:
        # To the machine's byte order first: a view does not know of any other.
        native = np.asarray(array, array.dtype.newbyteorder("="), order="C")
        return native.reshape(-1).view("=u2").astype("<u2").tobytes()
    values = np.asarray(array, dtype="=f4", order="C").reshape(-1)
    bits = values.view("=u4")
    upper = bits >> np.uint32(16)
    rounded = (bits + np.uint32(0x7FFF) + (upper & np.uint32(1))) >> np.uint32(16)
    # Rounding could carry a NaN over into zero; cutting it could leave infinity. So: cut, and make it quiet.
    chosen = np.where(np.isnan(values), upper | np.uint32(0x40), rounded)
    return chosen.astype("<u2").tobytes()
