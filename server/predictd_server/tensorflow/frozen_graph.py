"""Frozen graphs: from a `.pb` file, whose weights are constants, to a signature that runs in a session.

Owns the choice of inputs and outputs, which a GraphDef doesn't name. Loader thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import graph_pb2

from predictd_proto.dtypes import is_dtype
from predictd_proto.errors import ModelLoadError
from predictd_server.models.code_policy import CodePolicy
from predictd_server.models.settings import ModelSettings
from predictd_server.tensorflow.session_runner import session_config
from predictd_server.tensorflow.session_signature import session_signature
from predictd_server.tensorflow.source_model import SourceModel

#: The one signature of a frozen graph; the name that exports use.
SIGNATURE = "serving_default"
_TABLE_FILLS = ("InitializeTable", "InitializeTableV2", "LookupTableImport", "LookupTableImportV2")
#: Operations that nothing uses and that are no answer.
_NO_ANSWERS = ("Assert", "Const", "NoOp", "Placeholder", "PlaceholderWithDefault")
_MOST_NAMES = 8


def read_frozen_graph(path: Path, settings: ModelSettings, code: CodePolicy) -> SourceModel:
    """Load a frozen graph into a session.

    Args:
        path: A binary GraphDef.
        settings: Names its inputs and outputs, where they are not every placeholder and every tensor nothing uses.
        code: What becomes of a graph that does more than compute.

    Raises:
        ModelLoadError: It is no GraphDef, has no such tensors, or they can't be sent.
    """
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(_definition(path), name="")
    placeholders = [op.outputs[0] for op in graph.get_operations() if op.type == "Placeholder"]
    inputs = _named(graph, "inputs", settings.inputs, placeholders)
    outputs = _named(graph, "outputs", settings.outputs, _unused(graph))
    session = tf.compat.v1.Session(graph=graph, config=session_config())
    session.run([op for op in graph.get_operations() if op.type in _TABLE_FILLS])
    parameters, weight_bytes = _constant_totals(graph)
    return SourceModel(
        signatures={SIGNATURE: session_signature(SIGNATURE, session, "session", inputs, outputs, code)},
        default_signature=SIGNATURE,
        owner=session,
        parameters=parameters,
        weight_bytes=weight_bytes,
    )


def _definition(path: Path) -> Any:
    definition = graph_pb2.GraphDef()
    try:
        definition.ParseFromString(path.read_bytes())
    except DecodeError as error:
        text = f"expected a binary GraphDef, got something else ({error}); write it again, or repeat the copy"
        raise ModelLoadError(text) from error
    return definition


def _unused(graph: Any) -> list[Any]:
    """Return the outputs of operations that no other takes anything from."""
    last = [
        op
        for op in graph.get_operations()
        if op.type not in _NO_ANSWERS and op.outputs and not any(output.consumers() for output in op.outputs)
    ]
    return [output for op in last for output in op.outputs if is_dtype(output.dtype.name)]


def _named(graph: Any, setting: str, wanted: Mapping[str, str], found: list[Any]) -> dict[str, Any]:
    by_name = {_short(tensor.name): tensor for tensor in found}
    if not wanted:
        return by_name
    return {name: _tensor(graph, setting, tensor, by_name) for name, tensor in wanted.items()}


def _tensor(graph: Any, setting: str, wanted: str, found: Iterable[str]) -> Any:
    try:
        return graph.get_tensor_by_name(wanted if ":" in wanted else f"{wanted}:0")
    except (KeyError, ValueError):
        names = list(found)
        shown = ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")
        text = f"its setting `{setting}` names the tensor {wanted!r}, which the graph hasn't; it has {shown or 'none'}"
        raise ModelLoadError(text) from None


def _short(tensor: str) -> str:
    """Return a tensor's name without the number of a first output: `scores` for `scores:0`."""
    return tensor.removesuffix(":0")


def _constant_totals(graph: Any) -> tuple[int, int]:
    """Return how many numbers the graph's constants hold, and their bytes. Scalars and shapes are no weights."""
    dense = [op.outputs[0] for op in graph.get_operations() if op.type == "Const" and op.outputs[0].dtype.is_floating]
    sizes = [(tensor.shape.num_elements() or 0, tensor.dtype.size) for tensor in dense if tensor.shape.rank]
    return sum(count for count, _ in sizes), sum(count * size for count, size in sizes)
