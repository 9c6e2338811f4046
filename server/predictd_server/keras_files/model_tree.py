"""A Keras model's inputs and outputs: their names, dtypes, shapes, and how they are nested.

Owns what a loaded model says of itself. It asks the model and imports no Keras, so that it serves every backend and
every line of Keras. Loader thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from predictd_proto.errors import ModelLoadError
from predictd_proto.tensors import TensorSpec
from predictd_server.keras_files.tensor_tree import leaves, leaves_with_keys, unique_names
from predictd_server.models.wire_specs import wire_spec

#: The one signature of a Keras model; the name that TensorFlow's own exports use.
SIGNATURE = "serving_default"
_AXES_OF_A_RAGGED_INPUT = 2


def model_inputs(model: Any, default_dtype: str) -> tuple[Any, tuple[TensorSpec, ...]]:
    """Return a model's inputs as the tree in which it takes them, and their specs in the order of its leaves.

    Args:
        model: A loaded Keras model.
        default_dtype: The dtype of inputs for which the model names none.

    Raises:
        ModelLoadError: Keras doesn't know the model's inputs, or they can't be sent.
    """
    tree = None
    if getattr(model, "inputs", None):
        tree = model.inputs[0] if _is_sequential(model) else model.input
    if tree is None:
        return _inputs_as_built(model, default_dtype)
    tensors = leaves(tree)
    for tensor in tensors:
        _check_layout(tensor)
    names = unique_names([tensor.name for tensor in tensors])
    specs = [
        wire_spec(name, _dtype_name(tensor.dtype), tensor.shape) for name, tensor in zip(names, tensors, strict=True)
    ]
    return tree, tuple(specs)


def is_ragged(tensor: Any) -> bool:
    """Whether a model's input takes rows of different lengths as a ragged tensor."""
    # Keras 3 says it in an attribute, Keras 2 by the kind of its type.
    return bool(getattr(tensor, "ragged", False)) or _type_name(tensor) == "RaggedTensorSpec"


def _check_layout(tensor: Any) -> None:
    if getattr(tensor, "sparse", False) or _type_name(tensor) == "SparseTensorSpec":
        text = f"input {tensor.name!r} is sparse; expected a dense one: make it dense inside the model"
        raise ModelLoadError(text)
    # The rows' own axis is free as well.
    if is_ragged(tensor) and list(tensor.shape).count(None) != _AXES_OF_A_RAGGED_INPUT:
        text = (
            f"input {tensor.name!r} is ragged in an axis other than the one behind the rows', or in several: "
            f"{tuple(tensor.shape)}; expected (None, None, ...) with fixed axes behind them"
        )
        raise ModelLoadError(text)


def _type_name(tensor: Any) -> str:
    return type(getattr(tensor, "type_spec", None)).__name__


def output_names(model: Any, tree: Any) -> list[str]:
    """Return the names of a model's outputs, in the order of its answer's leaves.

    Args:
        model: The model.
        tree: An answer of its.
    """
    keyed = list(leaves_with_keys(tree))
    layers = list(getattr(model, "output_names", []))
    if _is_sequential(model):
        layers = [model.layers[-1].name]
    if len(layers) != len(keyed):
        layers = [f"output_{index}" for index in range(len(keyed))]
    return unique_names([key or layer for (key, _), layer in zip(keyed, layers, strict=True)])


def _is_sequential(model: Any) -> bool:
    return any(kind.__name__ == "Sequential" for kind in type(model).__mro__)


def _dtype_name(dtype: Any) -> str:
    """Keras 3 gives a dtype as text, Keras 2 as TensorFlow's object."""
    return str(getattr(dtype, "name", dtype))


def _inputs_as_built(model: Any, default_dtype: str) -> tuple[Any, tuple[TensorSpec, ...]]:
    """Return the inputs of a subclass of `keras.Model`, which has no symbolic ones: the shapes it was built with."""
    shapes = model.get_build_config() or {}
    tree = next(iter(shapes.values()), None)
    if tree is None:
        text = (
            f"its class {type(model).__name__} doesn't say what its inputs are: it was saved before it was called; "
            "call it once on data and save it again, or serve what model.export('directory') writes"
        )
        raise ModelLoadError(text)
    marked = _marked(tree)
    keyed = list(leaves_with_keys(marked))
    names = unique_names([key or ("input" if len(keyed) == 1 else f"input_{i}") for i, (key, _) in enumerate(keyed)])
    # The axis of the rows is the length of whatever data the model happened to be built with.
    specs = [
        wire_spec(name, default_dtype, (None, *shape.axes[1:])) for name, (_, shape) in zip(names, keyed, strict=True)
    ]
    return marked, tuple(specs)


class _Shape:
    """A shape as a leaf: a bare one is a list, as the nodes above it may be."""

    def __init__(self, axes: Sequence[int | None]) -> None:
        self.axes = tuple(axes)


def _marked(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _marked(child) for name, child in tree.items()}
    if all(axis is None or isinstance(axis, int) for axis in tree):
        return _Shape(tree)
    return [_marked(child) for child in tree]
