"""A Keras model's signature: what Keras infers of its outputs, and what a run shows.

Owns the reconciliation of the two: dtypes are those of a run, free axes those that Keras infers. Loader thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from numpy.typing import NDArray

from predictd_proto.errors import ModelLoadError
from predictd_proto.metadata import SignatureSpec
from predictd_proto.tensors import TensorSpec
from predictd_server.keras_files.model_tree import SIGNATURE, output_names
from predictd_server.keras_files.tensor_tree import leaves, leaves_with_paths, rebuild, structure_of
from predictd_server.models.load_failure import reason_of
from predictd_server.models.wire_specs import wire_spec
from predictd_server.runner import Arrays


def signature_of_inputs(input_tree: Any, inputs: tuple[TensorSpec, ...]) -> SignatureSpec:
    """Return what is known before the first run: the inputs."""
    return _signature(input_tree, inputs, [], ())


def inferred_answer(model: Any, input_tree: Any, inputs: Sequence[TensorSpec]) -> Any:
    """Return a model's answer as Keras infers it without data: a tree of symbols.

    Raises:
        Exception: Keras can't, for a model with code of its own.
    """
    symbols = [keras.KerasTensor(spec.shape, dtype=spec.dtype) for spec in inputs]
    return model(rebuild(input_tree, iter(symbols)), training=False)


def signature_without_run(model: Any, input_tree: Any, inputs: tuple[TensorSpec, ...]) -> SignatureSpec:
    """Return the signature of a model that takes no input that was tried.

    Raises:
        ModelLoadError: Keras can't infer its outputs either.
    """
    try:
        tree = inferred_answer(model, input_tree, inputs)
    except Exception as error:
        text = f"its outputs are unknown: it takes no made-up input, and Keras can't infer them: {reason_of(error)}"
        raise ModelLoadError(text) from error
    names = output_names(model, tree)
    outputs = tuple(
        wire_spec(name, str(leaf.dtype), leaf.shape) for name, leaf in zip(names, leaves(tree), strict=True)
    )
    return _signature(input_tree, inputs, tree, outputs)


def signature_of_run(
    model: Any, input_tree: Any, inputs: tuple[TensorSpec, ...], answer_tree: Any, outputs: Arrays
) -> SignatureSpec:
    """Return the signature of a model that was run once.

    Args:
        model: The model.
        input_tree: How it nests its inputs.
        inputs: Their specs.
        answer_tree: How it nested its answer.
        outputs: The answer's leaves.

    Raises:
        ModelLoadError: An output can't be sent.
    """
    try:
        symbols = dict(leaves_with_paths(inferred_answer(model, input_tree, inputs)))
    except Exception:  # a model's own code may raise anything when it gets symbols
        symbols = {}
    # By their paths: where Keras rebuilds a dict, it sorts its keys.
    paths = [path for path, _ in leaves_with_paths(answer_tree)]
    specs = tuple(
        wire_spec(
            name,
            output.dtype.name,
            _shape(tuple(symbols[path].shape), output) if path in symbols else _guessed(inputs, output),
        )
        for name, path, output in zip(output_names(model, answer_tree), paths, outputs, strict=True)
    )
    return _signature(input_tree, inputs, answer_tree, specs)


def _signature(
    input_tree: Any, inputs: tuple[TensorSpec, ...], answer_tree: Any, outputs: tuple[TensorSpec, ...]
) -> SignatureSpec:
    return SignatureSpec(
        name=SIGNATURE,
        inputs=inputs,
        outputs=outputs,
        input_structure=structure_of(input_tree, [spec.name for spec in inputs]),
        output_structure=structure_of(answer_tree, [spec.name for spec in outputs]),
    )


def _shape(inferred: tuple[int | None, ...], output: NDArray[Any]) -> tuple[int | None, ...]:
    """Return the inferred shape; an axis that turned out to have another length is free."""
    if len(inferred) != output.ndim:
        return (None,) * output.ndim
    return tuple(axis if axis == length else None for axis, length in zip(inferred, output.shape, strict=True))


def _guessed(inputs: Sequence[TensorSpec], output: NDArray[Any]) -> tuple[int | None, ...]:
    """Return what is certain of an output's shape when Keras can't infer it: fixed inputs make fixed outputs."""
    free = any(None in spec.shape[1:] for spec in inputs)
    rows_free = any(spec.shape[:1] == (None,) for spec in inputs)
    return tuple(None if free or (rows_free and index == 0) else length for index, length in enumerate(output.shape))
