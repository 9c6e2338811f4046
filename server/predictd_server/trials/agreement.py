"""Agreement: whether two ways of running a graph gave the same answer.

Owns the tolerance. It knows numpy only and runs nothing. Any thread.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictd_server.runner import Arrays

_EXACT_KINDS = "OSUbiu"


class Tolerance(Enum):
    """How far floats may differ: relative to each value, and to the largest value of the tensor.

    Folding batch normalisation into a convolution changes the order of additions, and so the last digits.
    """

    SINGLE = (1e-3, 1e-4)
    HALF = (3e-2, 2e-2)


def find_difference(expected: Arrays, got: Arrays, tolerance: Tolerance) -> str | None:
    """Return in words where two answers differ beyond the tolerance; None when they agree.

    NaN agrees with NaN, an infinity with itself. Whole numbers, booleans and strings must be equal.
    """
    if len(expected) != len(got):
        return f"{len(expected)} outputs against {len(got)}"
    for index, (one, other) in enumerate(zip(expected, got, strict=True)):
        difference = _difference(one, other, tolerance)
        if difference is not None:
            return f"output {index}: {difference}"
    return None


def _difference(expected: NDArray[Any], got: NDArray[Any], tolerance: Tolerance) -> str | None:
    if expected.shape != got.shape or expected.dtype != got.dtype:
        return f"{expected.dtype}{list(expected.shape)} against {got.dtype}{list(got.shape)}"
    if expected.dtype.kind in _EXACT_KINDS:
        different = np.count_nonzero(expected != got)
        return f"{different} of {expected.size} elements differ" if different else None
    one, other = _wide(expected), _wide(got)
    finite = np.isfinite(one)
    if not np.array_equal(one[~finite], other[~finite], equal_nan=True) or not np.isfinite(other[finite]).all():
        return "NaN or infinity in other places"
    relative, of_largest = tolerance.value
    one, other = one[finite], other[finite]
    allowed = relative * np.abs(one) + of_largest * (np.abs(one).max() if one.size else 0.0)
    error = np.abs(one - other)
    if (error <= allowed).all():
        return None
    return f"differs by up to {error.max():.3g}, with a largest value of {np.abs(one).max():.3g}"


def _wide(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
