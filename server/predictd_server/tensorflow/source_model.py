"""A model as its file gave it: traced signatures, and whatever keeps their weights alive.

Owns the trace of a Python call into a concrete function with flat inputs and outputs. It chooses no way of running it.
Loader thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from predictd_proto.metadata import SignatureSpec
from predictd_proto.tensors import TensorSpec
from predictd_server.models.code_policy import CodePolicy
from predictd_server.models.wire_specs import wire_spec
from predictd_server.runner import Arrays, Runner
from predictd_server.tensorflow.flat_graph import FlatGraph
from predictd_server.tensorflow.function_runner import FunctionRunner
from predictd_server.tensorflow.graph_code import meet_graph
from predictd_server.tensorflow.saved_session import SavedGraph
from predictd_server.tensorflow.session_runner import SessionRunner
from predictd_server.trials.probe import find_probe


@dataclass(frozen=True, slots=True, eq=False)
class TracedSignature:
    """One signature as a graph.

    Attributes:
        spec: Its inputs and outputs.
        function: A concrete function that takes the inputs of `spec` by position and returns its outputs as a list.
            None where the graph lives in a session from the start.
        session: Runs it there, then.
        flat: That graph, as far as the signature needs it.
    """

    spec: SignatureSpec
    function: Any = None
    session: SessionRunner | None = None
    flat: FlatGraph | None = None

    def reference(self, owner: object) -> Runner:
        """Return the runner whose answers are right by definition."""
        return FunctionRunner(self.function, owner) if self.session is None else self.session


@dataclass(frozen=True, slots=True, eq=False)
class SourceModel:
    """A model in TensorFlow's hands.

    Attributes:
        signatures: By name.
        default_signature: The name of the one to run when a request names none.
        owner: The object whose life the weights' lives hang on.
        parameters: Number of weights.
        weight_bytes: Size of the weights.
        saved_model: The SavedModel that TensorFlow 1's loader could read too; None where there is none, or it has.
    """

    signatures: dict[str, TracedSignature]
    default_signature: str
    owner: Any
    parameters: int
    weight_bytes: int
    saved_model: SavedGraph | None = None


def trace(
    name: str, call: Callable[[Sequence[Any]], Sequence[Any]], inputs: Sequence[TensorSpec], code: CodePolicy
) -> Any:
    """Return a concrete function of a Python call.

    Args:
        name: The signature that it is for.
        call: From tensors to tensors.
        inputs: What it takes; axes that are None stay free.
        code: What becomes of a graph that does more than compute.

    Raises:
        ModelLoadError: The graph is refused.
    """
    signature = [tf.TensorSpec(spec.shape, spec.dtype) for spec in inputs]

    def flat(*tensors: Any) -> list[Any]:
        return list(call(tensors))

    # Keras itself traces `predict` and `export` without autograph.
    function = tf.function(flat, input_signature=signature, autograph=False).get_concrete_function()
    meet_graph(name, function.graph.as_graph_def(), code)
    return function


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
    return known_or_observed(names, function.outputs, FunctionRunner(function, function).run, inputs)


def known_or_observed(
    names: Sequence[str], tensors: Sequence[Any], run: Callable[[Arrays], Arrays], inputs: Sequence[TensorSpec]
) -> tuple[TensorSpec, ...]:
    """Return the specs of some of a graph's tensors; a number of axes that the graph leaves open is found by a run.

    Args:
        names: What they are called.
        tensors: The tensors.
        run: Computes them.
        inputs: From these.
    """
    ranks = [tensor.shape.rank for tensor in tensors]
    if None in ranks:
        ranks = [array.ndim for array in find_probe(run, inputs, rows=2).outputs]
    shapes = [
        tensor.shape.as_list() if tensor.shape.rank is not None else [None] * rank
        for tensor, rank in zip(tensors, ranks, strict=True)
    ]
    return tuple(
        tensor_spec(name, tensor.dtype, shape) for name, tensor, shape in zip(names, tensors, shapes, strict=True)
    )


def weight_totals(variables: Sequence[Any]) -> tuple[int, int]:
    """Return how many weights some variables hold, and their bytes."""
    sizes = [(variable.shape.num_elements() or 0, variable.dtype.size or 0) for variable in variables]
    return sum(count for count, _ in sizes), sum(count * size for count, size in sizes)
