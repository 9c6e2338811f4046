"""What a caller hands in, matched to a signature's inputs: arrays, lists, dicts and nests of them.

Owns finding the value of each input tensor and turning it into an array. Dtypes and shapes are `fitting.py`'s. Any
thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from predictd_proto.errors import TensorMismatchError
from predictd_proto.metadata import SignatureSpec
from predictd_proto.structures import Structure, leaf_names

if TYPE_CHECKING:
    from numpy.typing import NDArray


def match_inputs(spec: SignatureSpec, inputs: Any, *, is_lenient: bool = False) -> list[Any]:
    """Return the value of each input, in the signature's order.

    Args:
        spec: The signature.
        inputs: One value for a single input; else nested like the signature's inputs, or a dict by tensor name (where
            no key of theirs is in it).
        is_lenient: As Keras: unknown dict keys are ignored, a list may stand for a dict whose keys are in alphabetical
            order, and a flat list of arrays for any nest.

    Raises:
        TensorMismatchError: Something is missing, unknown or nested otherwise.
    """
    structure = spec.input_structure
    if isinstance(structure, str):
        if type(inputs) is np.ndarray:
            return [inputs]
        return [_single_value(structure, len(spec.inputs[0].shape), inputs, is_lenient=is_lenient)]
    if isinstance(inputs, Mapping) and (not isinstance(structure, dict) or _goes_by_names(spec, structure, inputs)):
        return match_names(spec, inputs, is_lenient=is_lenient)
    found: dict[str, Any] = {}
    if is_lenient and _is_flattened(structure, inputs):
        found.update(zip(flat_names(structure), inputs, strict=True))
        return [found[tensor.name] for tensor in spec.inputs]
    if len(structure) == 1 and not isinstance(inputs, (Mapping, list, tuple)):
        inputs = [inputs]
        is_lenient = True
    _walk(structure, inputs, found, is_lenient=is_lenient)
    return [found[tensor.name] for tensor in spec.inputs]


def match_names(spec: SignatureSpec, inputs: Mapping[Any, Any], *, is_lenient: bool = False) -> list[Any]:
    """Return the value of each input, in the signature's order, out of a dict by tensor name.

    Args:
        spec: The signature.
        inputs: Values by name.
        is_lenient: Unknown names are ignored.

    Raises:
        TensorMismatchError: One is missing or unknown.
    """
    names = [tensor.name for tensor in spec.inputs]
    if any(name not in inputs for name in names) or (not is_lenient and len(inputs) > len(names)):
        raise _wrong_names(names, inputs)
    return [inputs[name] for name in names]


def as_array(name: str, value: Any) -> NDArray[Any]:
    """Return a value as an array.

    Raises:
        TensorMismatchError: It has none: rows of different lengths, or an object that numpy can't read.
    """
    if type(value) is np.ndarray:
        return value
    if hasattr(value, "tocsr") and hasattr(value, "toarray"):
        # A sparse matrix: numpy would take it for a single object.
        value = value.toarray()
    try:
        return np.asarray(value)
    except (ValueError, TypeError) as error:
        kind = type(value).__name__
        text = f"input {name!r}: a {kind} that is no array: {error}. Rows of different lengths must be padded"
        raise TensorMismatchError(text) from error


def flat_names(structure: Structure) -> list[str]:
    """Return a structure's names in Keras' flat order: dicts by their keys in alphabetical order, not by insertion."""
    if isinstance(structure, str):
        return [structure]
    children = [structure[key] for key in sorted(structure)] if isinstance(structure, dict) else structure
    return [name for child in children for name in flat_names(child)]


def is_plain(value: Any) -> bool:
    """Whether a value is made of Python's own numbers, which have no width to insist on."""
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
    return isinstance(value, (bool, int, float, complex, list, tuple)) and not isinstance(value, np.generic)


def _single_value(name: str, rank: int, inputs: Any, *, is_lenient: bool) -> Any:
    if isinstance(inputs, Mapping):
        if name in inputs and (is_lenient or len(inputs) == 1):
            return inputs[name]
        raise _wrong_names([name], inputs)
    # Keras takes [x] for x; a list of rows looks the same until one counts the axes.
    if isinstance(inputs, (list, tuple)) and len(inputs) == 1:
        (first,) = inputs
        if hasattr(first, "__array__") and np.ndim(first) == rank:
            return first
    return inputs


def _goes_by_names(spec: SignatureSpec, structure: dict[str, Structure], inputs: Mapping[Any, Any]) -> bool:
    """Whether a dict goes by tensor names, for a signature whose inputs are a dict by other keys."""
    return all(tensor.name in inputs for tensor in spec.inputs) and not any(key in inputs for key in structure)


def _is_flattened(structure: Structure, inputs: Any) -> bool:
    """Whether inputs are a plain list of arrays for a nest of several levels."""
    if isinstance(structure, str) or not isinstance(inputs, (list, tuple)):
        return False
    children = list(structure.values() if isinstance(structure, dict) else structure)
    if all(isinstance(child, str) for child in children) or len(inputs) != len(leaf_names(structure)):
        return False
    return all(hasattr(value, "__array__") for value in inputs)


def _walk(structure: Structure, inputs: Any, found: dict[str, Any], *, is_lenient: bool) -> None:
    if isinstance(structure, str):
        found[structure] = inputs
        return
    if isinstance(structure, dict):
        pairs = _dict_pairs(structure, inputs, is_lenient=is_lenient)
    elif isinstance(inputs, (list, tuple)) and len(inputs) == len(structure):
        pairs = list(zip(structure, inputs, strict=True))
    else:
        raise _wrong_nesting(structure, inputs)
    for child, value in pairs:
        _walk(child, value, found, is_lenient=is_lenient)


def _dict_pairs(structure: dict[str, Structure], inputs: Any, *, is_lenient: bool) -> list[tuple[Structure, Any]]:
    if isinstance(inputs, Mapping):
        if any(key not in inputs for key in structure) or (not is_lenient and len(inputs) > len(structure)):
            raise _wrong_names(list(structure), inputs)
        return [(child, inputs[key]) for key, child in structure.items()]
    # Of keys in another order nobody can say whether a list goes by that or, as Keras has it, by the alphabet.
    is_sorted = list(structure) == sorted(structure)
    if is_lenient and is_sorted and isinstance(inputs, (list, tuple)) and len(inputs) == len(structure):
        return list(zip(structure.values(), inputs, strict=True))
    raise _wrong_nesting(structure, inputs)


def _wrong_names(expected: list[str], inputs: Mapping[Any, Any]) -> TensorMismatchError:
    text = (
        f"inputs: expected a dict with {', '.join(map(repr, expected))}, got {', '.join(map(repr, inputs)) or 'none'}"
    )
    return TensorMismatchError(text)


def _wrong_nesting(structure: Structure, inputs: Any) -> TensorMismatchError:
    names = ", ".join(map(repr, leaf_names(structure)))
    kind = "dict" if isinstance(structure, dict) else "list"
    got = f"a {type(inputs).__name__}"
    if isinstance(inputs, (list, tuple)):
        got += f" of {len(inputs)}"
    text = f"inputs: expected a {kind} of {len(structure)} ({names}), got {got}"
    return TensorMismatchError(text)
