"""What a test declares of a model's tensors, turned into a signature.

Owns the short forms: `("float32", (None, 64))`, an example array, and lists and dicts of them. It runs no model. Any
thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from predictd_proto.errors import ConfigError, ProtocolError
from predictd_proto.metadata import SignatureSpec
from predictd_proto.structures import Structure
from predictd_proto.tensors import STRING, TensorSpec, is_dtype, wire_dtype

#: What numpy and Python call the elements of a string tensor.
_STRINGS = (str, bytes, object, "str", "bytes", "object")
_LEAF_ITEMS = 2


def declared_signature(
    name: str, inputs: Any, outputs: Any, *, input_structure: Any = None, output_structure: Any = None
) -> SignatureSpec:
    """Return the signature that a test declares.

    Args:
        name: The signature's name.
        inputs: `(dtype, shape)` or an example array (axis 0 counts rows) for a single tensor, or a list or dict of
            them, nested as a caller nests them. A dict of one tensor names it; callers pass the array itself.
        outputs: Likewise.
        input_structure: How callers nest the inputs, with tensor names as leaves, where it is not as declared.
        output_structure: Likewise.

    Raises:
        ConfigError: Something of it can't be understood.

    Examples:
        >>> declared_signature("serving_default", {"pixels": ("float32", (None, 64))}, ("int64", (None,))).inputs
        (TensorSpec(name='pixels', dtype='float32', shape=(None, 64)),)
    """
    try:
        given = list(_leaves(inputs, "input", ()))
        got = list(_leaves(outputs, "output", ()))
        return SignatureSpec(
            name=name,
            inputs=tuple(given),
            outputs=tuple(got),
            input_structure=_structure(inputs, given) if input_structure is None else input_structure,
            output_structure=_structure(outputs, got) if output_structure is None else output_structure,
        )
    except ProtocolError as error:
        text = f"signature {name!r} of a fake model: {error.message}"
        raise ConfigError(text) from error


def _leaves(declared: Any, word: str, path: tuple[str, ...]) -> Iterator[TensorSpec]:
    if isinstance(declared, TensorSpec):
        yield declared
    elif _is_leaf(declared):
        yield _spec("_".join(path) or f"{word}_0", declared)
    elif isinstance(declared, Mapping):
        for key, child in declared.items():
            yield from _leaves(child, word, (*path, str(key)))
    elif isinstance(declared, (list, tuple)):
        for index, child in enumerate(declared):
            yield from _leaves(child, word, (*(path or (word,)), str(index)))
    else:
        raise _not_understood(word, declared)


def _is_leaf(declared: Any) -> bool:
    if isinstance(declared, tuple) and len(declared) == _LEAF_ITEMS:
        dtype, shape = declared
        return isinstance(shape, (tuple, list)) and (isinstance(dtype, (str, type, np.dtype)))
    return hasattr(declared, "dtype") and hasattr(declared, "shape")


def _spec(name: str, declared: Any) -> TensorSpec:
    if isinstance(declared, tuple):
        dtype, shape = declared
        return TensorSpec(name, _dtype_name(name, dtype), tuple(shape))
    array = np.asarray(declared)
    if not array.ndim:
        text = f"tensor {name!r}: an example array needs an axis of rows, got a single {array.dtype}; pass x[None]"
        raise ConfigError(text)
    return TensorSpec(name, wire_dtype(array, name), (None, *array.shape[1:]))


def _dtype_name(name: str, dtype: Any) -> str:
    if is_dtype(dtype):
        return str(dtype)
    if any(dtype is string or dtype == string for string in _STRINGS):
        return STRING
    try:
        return str(np.dtype(dtype).name)
    except TypeError:
        text = f"tensor {name!r}: expected a dtype such as 'float32' or 'string', got {dtype!r}"
        raise ConfigError(text) from None


def _structure(declared: Any, leaves: list[TensorSpec]) -> Structure:
    if len(leaves) == 1 and not isinstance(declared, list) and _depth(declared) <= 1:
        return leaves[0].name
    return _filled(declared, iter(leaves))


def _filled(declared: Any, leaves: Iterator[TensorSpec]) -> Structure:
    if isinstance(declared, TensorSpec) or _is_leaf(declared):
        return next(leaves).name
    if isinstance(declared, Mapping):
        return {str(key): _filled(child, leaves) for key, child in declared.items()}
    return [_filled(child, leaves) for child in declared]


def _depth(declared: Any) -> int:
    if isinstance(declared, TensorSpec) or _is_leaf(declared):
        return 0
    children = declared.values() if isinstance(declared, Mapping) else declared
    return 1 + max(map(_depth, children), default=0)


def _not_understood(word: str, declared: Any) -> ConfigError:
    text = (
        f"{word}s of a fake model: expected (dtype, shape) such as ('float32', (None, 64)), an example array, or a "
        f"list or dict of them, got {declared!r}"
    )
    return ConfigError(text)
