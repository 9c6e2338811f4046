"""Distance: how far an answer is from the one that was expected, and in which row.

Owns the measure: relative to the largest value of the tensor, as a tolerance is meant. It knows numpy only. Any thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_EXACT_KINDS = "OSUbiu"
#: Two ways of rounding one result differ by that many of the dtype's last digits.
_LAST_DIGITS = 2
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Deviation:
    """Where an answer is farthest from the expected one, beyond what is allowed.

    Attributes:
        row: The row, along axis 0; None when it concerns the whole tensor.
        text: By how much, in words.
    """

    row: int | None
    text: str


def find_deviation(expected: NDArray[Any], got: NDArray[Any], tolerance: float) -> Deviation | None:
    """Return where an answer is farthest from the expected one; None when it is within the tolerance.

    Whole numbers, booleans and strings must be equal. NaN equals NaN, an infinity itself.

    Args:
        expected: What it should be.
        got: What it is.
        tolerance: How far each value may be off, as a part of the largest expected one; the last digits of a float's
            own precision are allowed in any case.
    """
    if expected.shape != got.shape or expected.dtype != got.dtype:
        return Deviation(None, f"expected {expected.dtype}{list(expected.shape)}, got {got.dtype}{list(got.shape)}")
    if expected.dtype.kind in _EXACT_KINDS:
        return _inequality(expected, got)
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    one, other = expected.astype(wide), got.astype(wide)
    finite = np.isfinite(one)
    are_odd = np.where(finite, ~np.isfinite(other), ~_are_same(one, other))
    if are_odd.any():
        index = np.unravel_index(int(np.argmax(are_odd)), expected.shape)
        return Deviation(_row_of(index), f"expected {one[index]}, got {other[index]}")
    largest = float(np.abs(one[finite]).max()) if finite.any() else 0.0
    allowed = (tolerance + _LAST_DIGITS * _resolution(expected.dtype)) * largest
    errors = np.zeros(expected.shape)
    # A difference of two floats may be beyond any float; then it is infinite, and too far.
    with np.errstate(over="ignore"):
        errors[finite] = np.abs(one[finite] - other[finite])
    if (errors <= allowed).all():
        return None
    index = np.unravel_index(int(np.argmax(errors)), expected.shape)
    return Deviation(
        _row_of(index),
        f"off by {errors[index]:.3g} (expected {one[index]:.6g}, got {other[index]:.6g}), "
        f"allowed are {allowed:.3g}: the tolerance {tolerance:g} of the largest, {largest:.3g}",
    )


def _inequality(expected: NDArray[Any], got: NDArray[Any]) -> Deviation | None:
    are_different = np.asarray(expected != got)
    count = np.count_nonzero(are_different)
    if not count:
        return None
    index = np.unravel_index(int(np.argmax(are_different)), expected.shape)
    text = f"{count} of {expected.size} values differ: expected {_shown(expected[index])}, got {_shown(got[index])}"
    return Deviation(_row_of(index), text)


def _are_same(one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    return np.asarray((one == other) | (np.isnan(one) & np.isnan(other)))


def _shown(value: Any) -> str:
    plain = repr(value.item() if isinstance(value, np.generic) else value)
    return plain if len(plain) <= _SHOWN_CHARACTERS else f"{plain[:_SHOWN_CHARACTERS]}..."


def _row_of(index: tuple[Any, ...]) -> int | None:
    return int(index[0]) if index else None


def _resolution(dtype: np.dtype[Any]) -> float:
    if dtype.kind == "V":
        import ml_dtypes

        finfo: Any = ml_dtypes.finfo
        return float(finfo(dtype).eps)
    return float(np.finfo(dtype).eps)
