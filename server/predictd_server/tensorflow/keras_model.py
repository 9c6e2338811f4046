"""Keras files: from `.keras` and `.h5` to a traced model.

Owns the load, with the line of Keras that wrote the file, and the call that is traced. Code that a file carries is
refused before Keras sees the file, and again by Keras' `safe_mode`. Loader thread: Keras' state belongs to the thread
that loads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from predictd_proto.errors import ModelLoadError
from predictd_proto.metadata import SignatureSpec
from predictd_proto.tensors import TensorSpec
from predictd_server.keras_files.model_tree import SIGNATURE, is_ragged, model_inputs, output_names
from predictd_server.keras_files.stored_config import StoredConfig, read_stored_config
from predictd_server.keras_files.tensor_tree import leaves, rebuild, structure_of
from predictd_server.models.code_policy import CodePolicy
from predictd_server.models.load_failure import reason_of
from predictd_server.tensorflow.keras_line import KerasLine, how_to_install, line_for
from predictd_server.tensorflow.source_model import (
    SourceModel,
    TracedSignature,
    output_specs,
    trace,
    weight_totals,
)

_EXPORT = "serve what model.export('directory') writes instead: it needs no Python code"
#: How the input is called that says how long each row of a ragged one is.
_LENGTHS = "{}_lengths"


def read_keras(
    path: Path, *, custom_objects: Mapping[str, Any], modules: Sequence[str], code: CodePolicy, is_hdf5: bool
) -> SourceModel:
    """Load a Keras file and trace its forward pass, with a free number of rows where the model has one.

    Args:
        path: A `.keras` or HDF5 file.
        custom_objects: Classes and functions of the user's own, by name.
        modules: The modules that they come from.
        code: What becomes of code in the file.
        is_hdf5: Whether it is an HDF5 file.

    Raises:
        ModelLoadError: It carries code, Keras doesn't know the model's inputs, or they can't be sent.
    """
    stored = read_stored_config(path)
    if stored.config is None:
        text = "it holds weights without a model; expected what model.save() writes: model.keras"
        raise ModelLoadError(text)
    line = line_for(stored)
    _meet_config(stored, line, custom_objects, modules, code)
    if is_hdf5:
        code.meet(
            "it is an HDF5 file, a format whose loaders have run code from files more than once",
            "save the model as model.keras",
        )
    model = _loaded(path, stored, line, custom_objects, code)
    return _traced(model, line, code)


def _meet_config(
    stored: StoredConfig, line: KerasLine, custom_objects: Mapping[str, Any], modules: Sequence[str], code: CodePolicy
) -> None:
    for what in stored.lambdas(are_named_ones_code=line.is_keras_2):
        code.meet_carried_code(what, f"build the model without Lambda, or {_EXPORT}")
    if not line.is_keras_2:
        return
    # Keras 2 imports whatever module a file names; Keras 3 looks into its own only.
    for name in stored.foreign_names(modules, {*custom_objects, *line.registered_names()}):
        code.meet_carried_code(f"it names {name}", f"name its module in the setting `modules`, or {_EXPORT}")


def _loaded(
    path: Path, stored: StoredConfig, line: KerasLine, custom_objects: Mapping[str, Any], code: CodePolicy
) -> Any:
    load = line.module.models.load_model
    options = {"custom_objects": dict(custom_objects), "compile": False, "safe_mode": not code.allows_all}
    if not line.is_substitute:
        return load(path, **options)
    wrote = f"Keras {stored.keras_version or '1 or 2'} wrote it"
    try:
        model = load(path, **options)
    except Exception as error:
        text = (
            f"{wrote}, and Keras {line.module.__version__} can't read it ({reason_of(error)}); install Keras 2 beside "
            f"it: {how_to_install()}"
        )
        raise ModelLoadError(text) from error
    code.notes.append(
        f"{wrote} and Keras {line.module.__version__} read it, because tf_keras isn't installed: compare its answers, "
        f"or {how_to_install()}"
    )
    return model


def _traced(model: Any, line: KerasLine, code: CodePolicy) -> SourceModel:
    tree, dense = model_inputs(model, line.default_dtype)
    ragged = [index for index, leaf in enumerate(leaves(tree)) if is_ragged(leaf)]
    inputs = (*dense, *(TensorSpec(_LENGTHS.format(dense[index].name), "int64", (None,)) for index in ragged))
    answered: list[Any] = []

    def call(tensors: Sequence[Any]) -> list[Any]:
        values = list(tensors[: len(dense)])
        for index, lengths in zip(ragged, tensors[len(dense) :], strict=True):
            ragged_tensor: Any = tf.RaggedTensor  # typeshed's stub of it knows no `from_tensor`
            values[index] = ragged_tensor.from_tensor(values[index], lengths=lengths)
        answer = model(rebuild(tree, iter(values)), training=False)
        answered.append(answer)
        return [_dense(leaf) for leaf in leaves(answer)]

    function = trace(SIGNATURE, call, inputs, code)
    output_tree = answered[-1]
    names = output_names(model, output_tree)
    input_names = [tensor.name for tensor in inputs]
    spec = SignatureSpec(
        name=SIGNATURE,
        inputs=inputs,
        outputs=output_specs(function, names, inputs),
        input_structure={name: name for name in input_names} if ragged else structure_of(tree, input_names),
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
