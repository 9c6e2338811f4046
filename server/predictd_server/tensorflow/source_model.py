"""A model as its file gave it: traced signatures, and whatever keeps their weights alive.

Owns the trace of a Python call into a concrete function with flat inputs and outputs. It chooses no way of running it.
Loader thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from predictd_proto.metadata import SignatureSpec
from predictd_proto.tensors import TensorSpec
from predictd_server.models.wire_specs import wire_spec
from predictd_server.tensorflow.function_runner import FunctionRunner
from predictd_server.trials.probe import find_probe


@dataclass(frozen=True, slots=True, eq=False)
class TracedSignature:
    """One signature as a graph.

    Attributes:
        spec: Its inputs and outputs.
        function: A concrete function that takes the inputs of `spec` by position and returns its outputs as a list.
    """

    spec: SignatureSpec
    function: Any


@dataclass(frozen=True, slots=True, eq=False)
class SourceModel:
    """A model in TensorFlow's hands.

    Attributes:
        signatures: By name.
        default_signature: The name of the one to run when a request names none.
        owner: The object whose life the weights' lives hang on.
        parameters: Number of weights.
        weight_bytes: Size of the weights.
        saved_model: The SavedModel directory; None for the other formats.
    """

    signatures: dict[str, TracedSignature]
    default_signature: str
    owner: Any
    parameters: int
    weight_bytes: int
    saved_model: Path | None = None


def trace(call: Callable[[Sequence[Any]], Sequence[Any]], inputs: Sequence[TensorSpec]) -> Any:
    """Return a concrete function of a Python call.

    Args:
        call: From tensors to tensors.
        inputs: What it takes; axes that are None stay free.
    """
    signature = [tf.TensorSpec(spec.shape, spec.dtype) for spec in inputs]

    def flat(*tensors: Any) -> list[Any]:
        return list(call(tensors))

    # Keras itself traces `predict` and `export` without autograph.
    return tf.function(flat, input_signature=signature, autograph=False).get_concrete_function()


def tensor_spec(name: str, dtype: Any, shape: Any) -> TensorSpec:
    """Return a tensor's spec.

    Args:
        name: Its name.
        dtype: Its dtype, as TensorFlow or Keras give it.
        shape: Its shape; axes may be None.

    Raises:
        ModelLoadError: It can't be served: an unknown number of axes, or a dtype without a form on the wire.
    """
    known = tf.TensorShape(shape)
    return wire_spec(name, tf.as_dtype(dtype).name, None if known.rank is None else known.as_list())


def output_specs(function: Any, names: Sequence[str], inputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Return the specs of a concrete function's outputs; a number of axes that the graph leaves open is found by a run.

    Args:
        function: Traced by `trace`.
        names: Its outputs' names.
        inputs: Its inputs.
    """
    ranks = [tensor.shape.rank for tensor in function.outputs]
    if None in ranks:
        observed = find_probe(FunctionRunner(function, function).run, inputs, rows=2).outputs
        ranks = [array.ndim for array in observed]
    shapes = [
        tensor.shape.as_list() if tensor.shape.rank is not None else [None] * rank
        for tensor, rank in zip(function.outputs, ranks, strict=True)
    ]
    return tuple(
        tensor_spec(name, tensor.dtype, shape)
        for name, tensor, shape in zip(names, function.outputs, shapes, strict=True)
    )


def weight_totals(variables: Sequence[Any]) -> tuple[int, int]:
    """Return how many weights some variables hold, and their bytes."""
    sizes = [(variable.shape.num_elements() or 0, variable.dtype.size or 0) for variable in variables]
    return sum(count for count, _ in sizes), sum(count * size for count, size in sizes)
