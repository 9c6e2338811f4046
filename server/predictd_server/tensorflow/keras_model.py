"""Keras files: from `.keras` and `.h5` to a traced model.

Owns what Keras knows of a model: its inputs' names, and how it nests them and its answers. Code that a file carries is
refused (`safe_mode`). Loader thread: Keras' state belongs to the thread that loads.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from predictd_proto.errors import ModelLoadError
from predictd_proto.metadata import SignatureSpec
from predictd_proto.tensors import TensorSpec
from predictd_server.keras_files.tensor_tree import leaves, leaves_with_keys, rebuild, structure_of, unique_names
from predictd_server.tensorflow.source_model import (
    SourceModel,
    TracedSignature,
    output_specs,
    tensor_spec,
    trace,
    weight_totals,
)

#: The one signature of a Keras model; the name that TensorFlow's own exports use.
SIGNATURE = "serving_default"


def read_keras(path: Path) -> SourceModel:
    """Load a Keras file and trace its forward pass, with a free number of rows where the model has one.

    Raises:
        ModelLoadError: Keras doesn't know the model's inputs, or they can't be sent.
    """
    model = keras.saving.load_model(path, compile=False, safe_mode=True)
    input_tree, inputs = _inputs(model)
    answered: list[Any] = []

    def call(tensors: Sequence[Any]) -> list[Any]:
        tree = model(rebuild(input_tree, iter(tensors)), training=False)
        answered.append(tree)
        return [_dense(leaf) for leaf in leaves(tree)]

    function = trace(call, inputs)
    output_tree = answered[-1]
    names = _output_names(model, output_tree)
    spec = SignatureSpec(
        name=SIGNATURE,
        inputs=inputs,
        outputs=output_specs(function, names, inputs),
        input_structure=structure_of(input_tree, [tensor.name for tensor in inputs]),
        output_structure=structure_of(output_tree, names),
    )
    _, weight_bytes = weight_totals(function.graph.variables)
    return SourceModel(
        signatures={SIGNATURE: TracedSignature(spec, function)},
        default_signature=SIGNATURE,
        owner=model,
        parameters=int(model.count_params()),
        weight_bytes=weight_bytes,
    )


def _inputs(model: Any) -> tuple[Any, tuple[TensorSpec, ...]]:
    if isinstance(model, keras.Sequential):
        tree = model.inputs[0] if getattr(model, "inputs", None) else None
    else:
        tree = model.input if getattr(model, "inputs", None) else None
    if tree is None:
        return _inputs_as_built(model)
    tensors = leaves(tree)
    for tensor in tensors:
        if tensor.sparse or getattr(tensor, "ragged", False):
            text = f"input {tensor.name!r} is sparse or ragged; expected dense inputs: make it dense inside the model"
            raise ModelLoadError(text)
    names = unique_names([tensor.name for tensor in tensors])
    specs = [tensor_spec(name, tensor.dtype, tensor.shape) for name, tensor in zip(names, tensors, strict=True)]
    return tree, tuple(specs)


def _inputs_as_built(model: Any) -> tuple[Any, tuple[TensorSpec, ...]]:
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
        tensor_spec(name, keras.config.floatx(), (None, *shape.axes[1:]))
        for name, (_, shape) in zip(names, keyed, strict=True)
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


def _dense(leaf: Any) -> Any:
    if isinstance(leaf, (tf.RaggedTensor, tf.SparseTensor)):
        text = f"an output is a {type(leaf).__name__}; expected dense outputs: make it dense inside the model"
        raise ModelLoadError(text)
    return leaf


def _output_names(model: Any, tree: Any) -> list[str]:
    keyed = list(leaves_with_keys(tree))
    layers = list(getattr(model, "output_names", []))
    if isinstance(model, keras.Sequential):
        layers = [model.layers[-1].name]
    if len(layers) != len(keyed):
        layers = [f"output_{index}" for index in range(len(keyed))]
    return unique_names([key or layer for (key, _), layer in zip(keyed, layers, strict=True)])
