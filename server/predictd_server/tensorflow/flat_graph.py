"""A signature's graph without function calls, and what it does with the things it captured.

Owns the inlining and the reading of a GraphDef: which captured weights are only read, whether anything is written,
drawn at random or computed in half precision. It builds and runs nothing. Loader thread.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import graph_pb2, types_pb2
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow.python.grappler import tf_optimizer

_log = logging.getLogger(__name__)

READ = "ReadVariableOp"
#: Beginnings of the names of operations that change a variable, a table or a generator's state.
_WRITES = (
    "Assign",
    "LookupTableImport",
    "LookupTableInsert",
    "LookupTableRemove",
    "ResourceApply",
    "ResourceCount",
    "ResourceScatter",
    "ResourceSparseApply",
    "ResourceStridedSliceAssign",
    "RngReadAndSkip",
    "RngSkip",
    "Scatter",
    "StatefulRandom",
    "StatefulStandardNormal",
    "StatefulTruncatedNormal",
    "StatefulUniform",
)
_NO_WRITES = ("ScatterNd",)
_RANDOM = ("Random", "Stateless", "Stateful", "Multinomial", "ParameterizedTruncated", "TruncatedNormal")
_CALLS = ("StatelessIf", "StatelessWhile", "StatelessCase", "StatefulPartitionedCall")
_HALVES = {types_pb2.DT_HALF, types_pb2.DT_BFLOAT16}


@dataclass(frozen=True, slots=True)
class Use:
    """Where a captured tensor is used.

    Attributes:
        node: The node that uses it.
        input_index: As which of its inputs.
    """

    node: Any
    input_index: int


@dataclass(frozen=True, slots=True, eq=False)
class FlatGraph:
    """A concrete function's graph with its calls inlined.

    Attributes:
        graph_def: The nodes; captured tensors are placeholders.
        inputs: Names of the data inputs' tensors, in order.
        outputs: Names of the outputs' tensors, in order.
        captures: By the name of its placeholder, what was captured.
        variables: By the name of its placeholder, the variable behind a captured handle.
        uses: By the name of its placeholder, where a capture is used.
    """

    graph_def: Any
    inputs: list[str]
    outputs: list[str]
    captures: dict[str, Any]
    variables: dict[str, Any]
    uses: dict[str, list[Use]] = field(default_factory=dict)

    @property
    def writes(self) -> list[str]:
        """The operations that change something beyond the run."""
        found = {node.op for node in self._all_nodes() if node.op.startswith(_WRITES)}
        return sorted(op for op in found if not op.startswith(_NO_WRITES))

    @property
    def is_random(self) -> bool:
        """Whether it draws random numbers."""
        return any(node.op.startswith(_RANDOM) and not node.op.startswith(_CALLS) for node in self._all_nodes())

    @property
    def uses_halves(self) -> bool:
        """Whether some of it is computed in float16 or bfloat16."""
        return any(attribute.type in _HALVES for node in self._all_nodes() for attribute in node.attr.values())

    def _all_nodes(self) -> Iterator[Any]:
        yield from self.graph_def.node
        for function in self.graph_def.library.function:
            yield from function.node_def


def flatten(function: Any) -> FlatGraph:
    """Return a concrete function's graph with its calls inlined as far as TensorFlow can.

    Raises:
        ValueError: The graph is beyond what a GraphDef can hold (2 GB).
    """
    external = dict(
        zip((tensor.op.name for tensor in function.graph.internal_captures), function.captured_inputs, strict=True)
    )
    by_handle = {id(variable.handle): variable for variable in function.graph.variables}
    graph_def = _inlined(function)
    present = {node.name for node in graph_def.node}
    captures = {name: tensor for name, tensor in external.items() if name in present}
    flat = FlatGraph(
        graph_def=graph_def,
        inputs=[tensor.name for tensor in function.inputs[: len(function.inputs) - len(external)]],
        outputs=[tensor.name for tensor in function.outputs],
        captures=captures,
        variables={name: by_handle[id(tensor)] for name, tensor in captures.items() if id(tensor) in by_handle},
    )
    flat.uses.update(_uses(graph_def, captures))
    if not flat.writes:
        _unorder_reads(graph_def, flat)
    return flat


def _inlined(function: Any) -> Any:
    """Inline calls, so that weights read inside them can become constants: exports keep the whole model in one call."""
    graph_def = function.graph.as_graph_def()
    if not graph_def.library.function:
        return graph_def
    for library_function in graph_def.library.function:
        # Marks alternative implementations (of RNNs, for cuDNN) and keeps the inliner away from them.
        if "api_implements" in library_function.attr:
            del library_function.attr["api_implements"]
    meta_graph = tf.compat.v1.train.export_meta_graph(graph_def=graph_def, graph=function.graph)
    meta_graph.collection_def.clear()
    kept = meta_graph_pb2.CollectionDef()
    kept.node_list.value.extend(tensor.name for tensor in [*function.inputs, *function.outputs])
    meta_graph.collection_def["train_op"].CopyFrom(kept)
    config = config_pb2.ConfigProto()
    rewrites = config.graph_options.rewrite_options
    rewrites.min_graph_nodes = -1
    rewrites.optimizers.append("function")
    try:
        return tf_optimizer.OptimizeGraph(config, meta_graph)
    except Exception:  # without inlining everything still works, with weights as variables
        _log.debug("calls could not be inlined", exc_info=True)
        return graph_def


def _uses(graph_def: graph_pb2.GraphDef, captures: dict[str, Any]) -> dict[str, list[Use]]:
    sources = {node.name: _source(node.input[0]) for node in graph_def.node if node.op == "Identity"}
    uses: dict[str, list[Use]] = {name: [] for name in captures}
    for node in graph_def.node:
        if node.op == "Identity":
            continue
        for index, reference in enumerate(node.input):
            name = _source(reference)
            while name in sources:
                name = sources[name]
            if name in uses and not reference.startswith("^"):
                uses[name].append(Use(node, index))
    return uses


def _unorder_reads(graph_def: graph_pb2.GraphDef, flat: FlatGraph) -> None:
    """Drop the order between reads and everything after them: nothing is written, and a constant is read no more."""
    reads = {use.node.name for uses in flat.uses.values() for use in uses if use.node.op == READ}
    without_effect = {f"^{name}" for name in (*reads, *flat.captures)}
    for node in graph_def.node:
        kept = [reference for reference in node.input if reference not in without_effect]
        if len(kept) < len(node.input):
            node.input[:] = kept


def _source(reference: str) -> str:
    return reference.split(":", 1)[0]
