"""Keras files: from `.keras` and `.h5` to a traced model.

Owns the call that is traced. Code that a file carries is refused (`safe_mode`). Loader thread: Keras' state belongs to
the thread that loads.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from predictd_proto.errors import ModelLoadError
from predictd_proto.metadata import SignatureSpec
from predictd_server.keras_files.model_tree import SIGNATURE, model_inputs, output_names
from predictd_server.keras_files.tensor_tree import leaves, rebuild, structure_of
from predictd_server.tensorflow.source_model import (
    SourceModel,
    TracedSignature,
    output_specs,
    trace,
    weight_totals,
)


def read_keras(path: Path) -> SourceModel:
    """Load a Keras file and trace its forward pass, with a free number of rows where the model has one.

    Raises:
        ModelLoadError: Keras doesn't know the model's inputs, or they can't be sent.
    """
    model = keras.saving.load_model(path, compile=False, safe_mode=True)
    input_tree, inputs = model_inputs(model, keras.config.floatx())
    answered: list[Any] = []

    def call(tensors: Sequence[Any]) -> list[Any]:
        tree = model(rebuild(input_tree, iter(tensors)), training=False)
        answered.append(tree)
        return [_dense(leaf) for leaf in leaves(tree)]

    function = trace(call, inputs)
    output_tree = answered[-1]
    names = output_names(model, output_tree)
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


def _dense(leaf: Any) -> Any:
    if isinstance(leaf, (tf.RaggedTensor, tf.SparseTensor)):
        text = f"an output is a {type(leaf).__name__}; expected dense outputs: make it dense inside the model"
        raise ModelLoadError(text)
    return leaf
