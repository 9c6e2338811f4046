"""Answers of fake models: from what a test gave (a function, a constant, nothing) to checked output tensors.

Owns running an answer and comparing it with the signature, so that a fake can't say what the real model never could.
It sends nothing. The thread that asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from predictd_proto.errors import ProtocolError
from predictd_proto.metadata import SignatureSpec
from predictd_proto.structures import Structure, fill_structure, leaf_names
from predictd_proto.tensors import STRING, Tensor, TensorSpec, wire_dtype

if TYPE_CHECKING:
    from numpy.typing import NDArray


class WrongAnswerError(AssertionError):
    """A fake model's answer is not what its signature declares: a mistake in the test, told to its author."""


def run_answer(
    label: str, spec: SignatureSpec, answer: Any, inputs: Mapping[str, NDArray[Any]], rows: int
) -> tuple[Tensor, ...]:
    """Return the output tensors of one request.

    Args:
        label: Model and version, for error texts.
        spec: The signature.
        answer: A function of the inputs (nested as the model takes them), a constant (one row for every row, or all
            rows), or None for zeros.
        inputs: The request's arrays by tensor name; the function may write to them.
        rows: The request's rows.

    Raises:
        WrongAnswerError: The answer does not fit the signature.
    """
    if callable(answer):
        given = answer(fill_structure(spec.input_structure, inputs))
        found = by_name(label, spec.outputs, spec.output_structure, given)
        return tuple([checked(label, tensor, found[tensor.name], rows) for tensor in spec.outputs])
    if answer is None:
        return tuple([checked(label, tensor, zeros(tensor, rows), rows) for tensor in spec.outputs])
    found = by_name(label, spec.outputs, spec.output_structure, answer)
    return tuple(
        [checked(label, tensor, repeated(label, tensor, found[tensor.name], rows), rows) for tensor in spec.outputs]
    )


def zeros(spec: TensorSpec, rows: int) -> NDArray[Any]:
    """Return zeros (empty strings) of a tensor's shape; a free axis that does not count rows has length 1."""
    shape = [1 if axis is None else axis for axis in spec.shape]
    if spec.shape and spec.shape[0] is None:
        shape[0] = rows
    if spec.dtype == STRING:
        return np.full(shape, b"", dtype=object)
    return np.zeros(shape, "float32" if spec.dtype == "bfloat16" else spec.dtype)


def repeated(label: str, spec: TensorSpec, constant: Any, rows: int) -> NDArray[Any]:
    """Return a constant as the answer to so many rows: one row is given to each of them.

    Raises:
        WrongAnswerError: It is one row too many or too few.
    """
    array = _array(constant)
    if not spec.shape or spec.shape[0] is not None:
        return array
    if array.ndim == len(spec.shape) - 1:
        array = array[None]
    if array.ndim == len(spec.shape) and len(array) == 1 != rows:
        return np.repeat(array, rows, axis=0)
    if array.ndim == len(spec.shape) and len(array) != rows:
        text = (
            f"{label}: its constant answer for {spec.name!r} has {len(array)} rows, the request has {rows}. Give one "
            "row, which answers every row, or a function of the inputs"
        )
        raise WrongAnswerError(text)
    return array


def by_name(label: str, specs: Sequence[TensorSpec], structure: Structure, given: Any) -> dict[str, Any]:
    """Return the value of each tensor out of a nest of them, or out of a dict by tensor name.

    Raises:
        WrongAnswerError: It is nested otherwise.
    """
    names = [spec.name for spec in specs]
    if isinstance(given, Mapping) and set(given) == set(names) and not isinstance(structure, dict):
        return dict(given)
    found: dict[str, Any] = {}
    _walk(label, structure, given, found)
    return found


def _walk(label: str, structure: Structure, given: Any, found: dict[str, Any]) -> None:
    if isinstance(structure, str):
        found[structure] = given
    elif isinstance(structure, dict):
        if not isinstance(given, Mapping) or set(given) != set(structure):
            raise _wrong_nesting(label, structure, given)
        for key, child in structure.items():
            _walk(label, child, given[key], found)
    elif isinstance(given, (list, tuple)) and len(given) == len(structure):
        for child, value in zip(structure, given, strict=True):
            _walk(label, child, value, found)
    else:
        raise _wrong_nesting(label, structure, given)


def checked(label: str, spec: TensorSpec, value: Any, rows: int) -> Tensor:
    """Return a value as the tensor that a signature declares.

    Numbers of another width are cast (numpy's float64 and int64 are nobody's choice), other kinds are not.

    Raises:
        WrongAnswerError: Its dtype, shape or number of rows is another.
    """
    array = _array(value)
    expected = (rows, *spec.shape[1:]) if spec.shape and spec.shape[0] is None else spec.shape
    try:
        dtype = wire_dtype(array, spec.name)
        is_fitting = len(array.shape) == len(expected) and all(
            wanted is None or length == wanted for length, wanted in zip(array.shape, expected, strict=True)
        )
        if is_fitting and _may_cast(array, dtype, spec.dtype):
            return Tensor.from_array(spec.name, array, spec.dtype)
    except ProtocolError as error:
        text = f"{label}: its answer for {spec.name!r} can't be sent: {error.message}"
        raise WrongAnswerError(text) from error
    shape = ", ".join("any" if axis is None else str(axis) for axis in expected)
    text = (
        f"{label}: its answer for {spec.name!r} is {dtype}{list(array.shape)}; the signature declares {spec}, which is "
        f"{spec.dtype}[{shape}] for a request of {rows} rows. Correct the fake's answer, or its outputs"
    )
    raise WrongAnswerError(text)


def _may_cast(array: NDArray[Any], own: str, wanted: str) -> bool:
    if own == wanted:
        return True
    if STRING in {own, wanted}:
        return False
    source = np.dtype("float32" if own == "bfloat16" else own)
    target = np.dtype("float32" if wanted == "bfloat16" else wanted)
    if np.can_cast(source, target, "same_kind"):
        return True
    if source.kind not in "iu" or target.kind not in "iu":
        return False
    limits = np.iinfo(target)
    return not array.size or (int(array.min()) >= limits.min and int(array.max()) <= limits.max)


def _array(value: Any) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except ValueError:
        return np.asarray(value, dtype=object)


def _wrong_nesting(label: str, structure: Structure, given: Any) -> WrongAnswerError:
    names = ", ".join(map(repr, leaf_names(structure)))
    kind = "dict" if isinstance(structure, dict) else "list"
    keys = f" with the keys {', '.join(map(repr, structure))}" if isinstance(structure, dict) else ""
    got = f"a {type(given).__name__}"
    if isinstance(given, (list, tuple, Mapping)):
        got += f" of {len(given)}" + (f" ({', '.join(map(repr, given))})" if isinstance(given, Mapping) else "")
    text = f"{label}: its answer should be a {kind} of {len(structure)}{keys} (outputs {names}), got {got}"
    return WrongAnswerError(text)
