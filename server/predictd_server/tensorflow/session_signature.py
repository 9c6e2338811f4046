"""Signatures of graphs that live in a session from the start: TensorFlow 1's, and frozen ones.

Owns their making from a session and its tensors, and their freezing: a graph of TensorFlow 1 with its variables made
constants, which TensorFlow folds into each other. Loader thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import tensorflow as tf

from predictd_proto.errors import ModelLoadError
from predictd_proto.metadata import SignatureSpec
from predictd_proto.structures import Structure
from predictd_server.models.code_policy import CodePolicy
from predictd_server.tensorflow.flat_graph import FlatGraph
from predictd_server.tensorflow.graph_code import meet_graph
from predictd_server.tensorflow.private_graph import build_session
from predictd_server.tensorflow.session_runner import SessionRunner
from predictd_server.tensorflow.source_model import TracedSignature, known_or_observed, tensor_spec
from predictd_server.tensorflow.weights import UnmovableError


def session_signature(
    name: str, session: Any, kind: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any], code: CodePolicy
) -> TracedSignature:
    """Return a signature that runs in a session.

    Args:
        name: What it is called.
        session: The session, shared by all signatures of its graph.
        kind: What its runner is called.
        inputs: The graph's tensors by the callers' names, in order.
        outputs: Likewise.
        code: What becomes of a graph that does more than compute.

    Raises:
        ModelLoadError: It takes nothing, gives nothing, or something that can't be sent.
    """
    check_not_empty(name, inputs, outputs)
    feeds, fetches = [tensor.name for tensor in inputs.values()], [tensor.name for tensor in outputs.values()]
    runner = SessionRunner(kind, session, feeds, fetches)
    input_specs = tuple(tensor_spec(each, tensor.dtype, tensor.shape) for each, tensor in inputs.items())
    nodes = [tensor.op.name for tensor in (*outputs.values(), *inputs.values())]
    graph_def = tf.compat.v1.graph_util.extract_sub_graph(session.graph.as_graph_def(), nodes)
    meet_graph(name, graph_def, code)
    spec = SignatureSpec(
        name=name,
        inputs=input_specs,
        outputs=known_or_observed(list(outputs), list(outputs.values()), runner.run, input_specs),
        input_structure=named_structure(list(inputs)),
        output_structure=named_structure(list(outputs)),
    )
    return TracedSignature(spec, session=runner, flat=FlatGraph(graph_def, feeds, fetches, {}, {}))


def check_not_empty(name: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    """Refuse a signature without inputs or outputs.

    Raises:
        ModelLoadError: It has none.
    """
    if not inputs or not outputs:
        text = f"signature {name!r} has {len(inputs)} inputs and {len(outputs)} outputs; expected one of each at least"
        raise ModelLoadError(text)


def named_structure(names: list[str]) -> Structure:
    """Return how a caller nests the tensors: one is itself, numbered ones are a list, others a dict by name."""
    if len(names) == 1:
        return names[0]
    if names == [f"output_{index}" for index in range(len(names))]:
        return list(names)
    return {name: name for name in names}


def freeze(traced: TracedSignature, constant_limit_bytes: int) -> SessionRunner:
    """Return a runner of a session's signature with its variables made constants, in a session of its own.

    Raises:
        UnmovableError: Its variables are too large for that.
    """
    assert traced.session is not None
    assert traced.flat is not None
    session = traced.session.session
    with session.graph.as_default():
        sizes = [(each.shape.num_elements() or 0) * each.dtype.size for each in tf.compat.v1.global_variables()]
    if sum(sizes) > constant_limit_bytes:
        text = f"its variables hold {sum(sizes)} bytes, of which {constant_limit_bytes} may become constants"
        raise UnmovableError(text)
    nodes = [tensor.split(":")[0] for tensor in (*traced.flat.outputs, *traced.flat.inputs)]
    frozen = tf.compat.v1.graph_util.convert_variables_to_constants(session, traced.flat.graph_def, nodes)
    return build_session(replace(traced.flat, graph_def=frozen), constant_limit_bytes)
