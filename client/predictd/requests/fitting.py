"""Arrays fitted to what a signature asks: dtype, rank, axes and rows, checked before anything is sent.

Owns the client's half of these checks (the server repeats them) and the casts. Any thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from predictd.requests.structure_match import as_array, is_plain
from predictd.wording import named, restated
from predictd_proto.errors import ProtocolError, TensorMismatchError
from predictd_proto.tensors import STRING, Tensor, TensorSpec, wire_dtype

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Python's numbers may widen in this order, as they do everywhere in Python.
_WIDENING = "biufc"


def fit_inputs(
    label: str, specs: Sequence[TensorSpec], values: Sequence[Any], *, cast: bool, is_lenient: bool
) -> tuple[Tensor, ...]:
    """Return values as the tensors that a signature takes.

    Args:
        label: What is asked, for error texts.
        specs: The signature's inputs.
        values: One for each of them.
        cast: Cast numbers of another dtype.
        is_lenient: Add or drop a last axis of length 1, as Keras does.

    Raises:
        TensorMismatchError: A dtype or shape is another, or the rows differ in number.
    """
    try:
        if len(specs) == 1:
            return (_fit(specs[0], values[0], cast=cast, is_lenient=is_lenient),)
        tensors = tuple([_fit(s, v, cast=cast, is_lenient=is_lenient) for s, v in zip(specs, values, strict=True)])
        _check_rows(specs, tensors)
    except ProtocolError as error:
        # An array that has no form on the wire at all: objects, records, dates.
        text = f"{label}, {error.message}"
        raise TensorMismatchError(text, error.detail) from error
    except TensorMismatchError as error:
        raise restated(error, f"{label}, {error.message}") from error
    return tensors


def _fit(spec: TensorSpec, value: Any, *, cast: bool, is_lenient: bool) -> Tensor:
    array = as_array(spec.name, value)
    shape = array.shape
    expected = spec.shape
    if len(shape) != len(expected):
        array = _with_rank(spec, array, value, is_lenient=is_lenient)
        shape = array.shape
    for length, wanted in zip(shape, expected, strict=True):
        if wanted is not None and length != wanted:
            raise _wrong_axis(spec, array)
    dtype = wire_dtype(array, spec.name)
    if dtype == spec.dtype:
        return Tensor.from_array(spec.name, array)
    if (dtype == STRING) != (spec.dtype == STRING) or (dtype[:7] == "complex" and spec.dtype[:7] != "complex"):
        text = f"input {spec.name!r}: expected {spec}, got {dtype}{list(shape)}, which can't be cast to {spec.dtype}"
        raise _mismatch(text, spec, dtype, shape)
    if not cast and not (is_plain(value) and _may_widen(spec, array)):
        text = (
            f"input {spec.name!r}: expected {spec}, got {dtype}{list(shape)}; "
            f"pass cast=True to have it cast, or x.astype({spec.dtype!r})"
        )
        raise _mismatch(text, spec, dtype, shape)
    # Numbers that the dtype can't hold (NaN as a whole number) become any other, as they do in Keras.
    with np.errstate(invalid="ignore", over="ignore"):
        return Tensor.from_array(spec.name, array, spec.dtype)


def adapt_rank(spec: TensorSpec, array: NDArray[Any]) -> NDArray[Any]:
    """Return the array with a last axis of length 1 added or dropped where that gives the rank asked for."""
    rank = len(spec.shape)
    if array.ndim == rank - 1 and rank > 1 and spec.shape[-1] == 1:
        return array[..., np.newaxis]
    if array.ndim == rank + 1 and array.shape[-1] == 1:
        return array[..., 0]
    return array


def _with_rank(spec: TensorSpec, array: NDArray[Any], value: Any, *, is_lenient: bool) -> NDArray[Any]:
    if is_lenient:
        adapted = adapt_rank(spec, array)
        if adapted.ndim == len(spec.shape):
            return adapted
    if not array.ndim and array.dtype.kind not in "biufc":
        text = f"input {spec.name!r}: expected {spec}, got {_no_array(value)}"
        raise _mismatch(text, spec, array.dtype.name, array.shape)
    hint = _rank_hint(spec, array)
    got = f"{array.dtype.name}{list(array.shape)}"
    text = f"input {spec.name!r}: expected {spec} (rank {len(spec.shape)}), got {got} (rank {array.ndim}){hint}"
    raise _mismatch(text, spec, array.dtype.name, array.shape)


def _no_array(value: Any) -> str:
    """Return in words what numpy made a single object of."""
    if hasattr(value, "__next__"):
        return f"{named(value)}: RemoteModel.predict and Client.map take those"
    return named(value)


def _rank_hint(spec: TensorSpec, array: NDArray[Any]) -> str:
    if not array.ndim:
        return ": a single number has no rows"
    if array.shape == (0,):
        axes = ", ".join("0" if axis is None else str(axis) for axis in spec.shape)
        return f": nothing to tell a row's shape from; for no rows pass np.empty(({axes}), {spec.dtype!r})"
    if array.ndim == len(spec.shape) - 1 and _fits(array.shape, spec.shape[1:]):
        return ": one sample without the axis of its rows? pass x[None]"
    if array.ndim == len(spec.shape) + 1 and _fits(array.shape[1:], spec.shape):
        return f": {len(array)} arrays for one input? pass np.concatenate(x), or one after the other"
    return ""


def _fits(shape: Sequence[int], expected: Sequence[int | None]) -> bool:
    return all(wanted is None or length == wanted for length, wanted in zip(shape, expected, strict=True))


def _may_widen(spec: TensorSpec, array: NDArray[Any]) -> bool:
    target = np.dtype("float32" if spec.dtype == "bfloat16" else spec.dtype)
    if _WIDENING.index(array.dtype.kind) > _WIDENING.index(target.kind):
        # -1 and 300 are whole numbers, but no uint8.
        return array.dtype.kind == "i" and target.kind == "u" and _holds(target, array)
    return target.kind not in "iu" or array.dtype.kind == "b" or _holds(target, array)


def _holds(target: np.dtype[Any], array: NDArray[Any]) -> bool:
    if not array.size:
        return True
    limits = np.iinfo(target)
    return int(array.min()) >= limits.min and int(array.max()) <= limits.max


def _wrong_axis(spec: TensorSpec, array: NDArray[Any]) -> TensorMismatchError:
    wrong = [
        f"axis {i} has length {length}, not {wanted}"
        for i, (length, wanted) in enumerate(zip(array.shape, spec.shape, strict=True))
        if wanted is not None and length != wanted
    ]
    text = f"input {spec.name!r}: expected {spec}, got {array.dtype.name}{list(array.shape)}: {', '.join(wrong)}"
    return _mismatch(text, spec, array.dtype.name, array.shape)


def _check_rows(specs: Sequence[TensorSpec], tensors: Sequence[Tensor]) -> None:
    rows = {t.name: t.shape[0] for s, t in zip(specs, tensors, strict=True) if s.shape and s.shape[0] is None}
    if len(set(rows.values())) > 1:
        got = ", ".join(f"{name!r} has {count}" for name, count in rows.items())
        text = f"inputs: expected the same number of rows in each, got different ones: {got}"
        raise TensorMismatchError(text, {"rows": rows})


def _mismatch(text: str, spec: TensorSpec, dtype: str, shape: Sequence[int]) -> TensorMismatchError:
    return TensorMismatchError(text, {"tensor": spec.name, "expected": str(spec), "got": f"{dtype}{list(shape)}"})
