"""SavedModel directories: from TensorFlow's own format to traced signatures.

Owns the choice among a SavedModel's signatures and their order of tensors. What Keras' `model.export` writes is one of
these. Loader thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from predictd_proto.errors import ModelLoadError
from predictd_proto.metadata import SignatureSpec
from predictd_proto.structures import Structure
from predictd_server.tensorflow.source_model import (
    SourceModel,
    TracedSignature,
    output_specs,
    tensor_spec,
    trace,
    weight_totals,
)

#: Names of a default signature, the likeliest first: what exports write, and what Keras calls its own.
_DEFAULTS = ("serving_default", "serve")


def read_saved_model(path: Path) -> SourceModel:
    """Load a SavedModel and trace its signatures.

    Raises:
        ModelLoadError: It has no signature that can be served.
    """
    loaded = tf.saved_model.load(str(path))
    if not loaded.signatures:
        text = (
            "it has no signatures, so nothing says what its inputs are; "
            "save it with model.export(directory), or tf.saved_model.save(..., signatures=...)"
        )
        raise ModelLoadError(text)
    signatures = {name: _traced(name, function) for name, function in loaded.signatures.items()}
    variables = {id(v): v for signature in signatures.values() for v in signature.function.graph.variables}
    parameters, weight_bytes = weight_totals(list(variables.values()))
    return SourceModel(
        signatures=signatures,
        default_signature=next((name for name in _DEFAULTS if name in signatures), min(signatures)),
        owner=loaded,
        parameters=parameters,
        weight_bytes=weight_bytes,
        saved_model=path,
    )


def _traced(name: str, function: Any) -> TracedSignature:
    _, arguments = function.structured_input_signature
    inputs = tuple(tensor_spec(key, spec.dtype, spec.shape) for key, spec in arguments.items())
    output_names = sorted(function.structured_outputs, key=_output_order)

    def call(tensors: Sequence[Any]) -> list[Any]:
        keys = [spec.name for spec in inputs]
        answers = function(**dict(zip(keys, tensors, strict=True)))
        return [answers[key] for key in output_names]

    flat = trace(call, inputs)
    spec = SignatureSpec(
        name=name,
        inputs=inputs,
        outputs=output_specs(flat, output_names, inputs),
        input_structure=_structure([tensor.name for tensor in inputs]),
        output_structure=_structure(output_names),
    )
    return TracedSignature(spec, flat)


def _output_order(name: str) -> tuple[str, int, str]:
    """Sort `output_10` after `output_9`: exports number the outputs of a list like that."""
    stem, _, number = name.rpartition("_")
    return (stem, int(number), "") if number.isdecimal() else (name, -1, "")


def _structure(names: list[str]) -> Structure:
    """Return how a caller nests the tensors: one is itself, numbered ones are a list, others a dict by name."""
    if len(names) == 1:
        return names[0]
    if names == [f"output_{index}" for index in range(len(names))]:
        return list(names)
    return {name: name for name in names}
