"""SavedModel directories: from TensorFlow's own format to signatures that can be run.

Owns the choice among a SavedModel's graphs and signatures, and their order of tensors. What Keras' `model.export`
writes is one of these. Loader thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.python.saved_model import loader_impl

from predictd_proto.errors import ModelLoadError
from predictd_proto.metadata import SignatureSpec
from predictd_server.models.code_policy import CodePolicy
from predictd_server.models.load_failure import reason_of
from predictd_server.tensorflow.endpoints import read_endpoints
from predictd_server.tensorflow.saved_session import KIND, SavedGraph, open_session
from predictd_server.tensorflow.session_signature import check_not_empty, named_structure, session_signature
from predictd_server.tensorflow.source_model import (
    SourceModel,
    TracedSignature,
    output_specs,
    tensor_spec,
    trace,
    weight_totals,
)

_log = logging.getLogger(__name__)

#: Names of a default signature, the likeliest first: what exports write, what Keras calls its own, and a bare call.
_DEFAULTS = ("serving_default", "serve", "call")
_SERVING = ("serve",)
#: TensorFlow keeps its own entries among a graph's signatures.
_INTERNAL = "__saved_model"


def read_saved_model(path: Path, tags: Sequence[str], wanted: str | None, code: CodePolicy) -> SourceModel:
    """Load a SavedModel and trace its signatures, or where it has none, the functions that can be called.

    Args:
        path: Its directory.
        tags: Those of the graph to serve; empty for its only one, or "serve".
        wanted: The signature that must be there; None for the likeliest.
        code: What becomes of graphs that do more than compute.

    Raises:
        ModelLoadError: It has no such graph, or no signature that can be served.
    """
    chosen = _choose_graph(path, tags)
    saved = SavedGraph(path, tuple(chosen.meta_info_def.tags))
    if not chosen.HasField("object_graph_def"):
        return _read_in_session(saved, wanted, code)
    loaded = tf.saved_model.load(str(path), tags=list(saved.tags))
    if loaded.signatures:
        functions = dict(loaded.signatures)
        signatures, default = read_each(functions, lambda name: _traced(name, functions[name], code), wanted)
    else:
        endpoints = read_endpoints(loaded, code)
        signatures, default = read_each(endpoints, lambda name: endpoints[name](), wanted)
    variables = {id(v): v for signature in signatures.values() for v in signature.function.graph.variables}
    parameters, weight_bytes = weight_totals(list(variables.values()))
    return SourceModel(
        signatures=signatures,
        default_signature=default,
        owner=loaded,
        parameters=parameters,
        weight_bytes=weight_bytes,
        saved_model=saved if loaded.signatures else None,
    )


def read_each(
    names: Mapping[str, Any], read: Callable[[str], TracedSignature], wanted: str | None
) -> tuple[dict[str, TracedSignature], str]:
    """Read signatures by name; those beside the default one that can't be served are left out.

    Args:
        names: Whatever there is by their names.
        read: Reads one.
        wanted: The default one; None for the likeliest.

    Returns:
        What was read, and the default one's name.

    Raises:
        ModelLoadError: There are none, or the default one is not there or can't be served.
    """
    if not names:
        text = (
            "it has no signatures, so nothing says what its inputs are; "
            "save it with model.export(directory), or tf.saved_model.save(..., signatures=...)"
        )
        raise ModelLoadError(text)
    if wanted is not None and wanted not in names:
        have = ", ".join(map(repr, names))
        text = f"its setting `signature` is {wanted!r}, which it has not; it has {have}"
        raise ModelLoadError(text)
    default = wanted or next((name for name in _DEFAULTS if name in names), min(names))
    found: dict[str, TracedSignature] = {}
    for name in names:
        try:
            found[name] = read(name)
        except ModelLoadError as error:
            if name == default:
                raise
            _log.warning("signature %r is left out: %s", name, reason_of(error))
    return found, default


def _choose_graph(path: Path, tags: Sequence[str]) -> Any:
    graphs = list(loader_impl.parse_saved_model(str(path)).meta_graphs)
    wanted = set(tags) or set(_SERVING)
    for graph in graphs:
        if set(graph.meta_info_def.tags) == wanted:
            return graph
    if len(graphs) == 1 and not tags:
        return graphs[0]
    have = " or ".join(str(list(graph.meta_info_def.tags)) for graph in graphs)
    text = f"it has no graph with the tags {sorted(wanted)}; it has {have}: set `tags` to one of these"
    raise ModelLoadError(text)


def _read_in_session(saved: SavedGraph, wanted: str | None, code: CodePolicy) -> SourceModel:
    """Load a graph of TensorFlow 1 as TensorFlow 1 did."""
    session, loaded = open_session(saved)
    definitions = {name: it for name, it in loaded.signature_def.items() if not name.startswith(_INTERNAL)}

    def read(name: str) -> TracedSignature:
        inputs = {key: _tensor(session.graph, key, info) for key, info in definitions[name].inputs.items()}
        outputs = {key: _tensor(session.graph, key, info) for key, info in definitions[name].outputs.items()}
        ordered = {key: outputs[key] for key in sorted(outputs, key=_output_order)}
        return session_signature(name, session, KIND, dict(sorted(inputs.items())), ordered, code)

    signatures, default = read_each(definitions, read, wanted)
    with session.graph.as_default():
        parameters, weight_bytes = weight_totals(tf.compat.v1.global_variables())
    return SourceModel(
        signatures=signatures,
        default_signature=default,
        owner=session,
        parameters=parameters,
        weight_bytes=weight_bytes,
    )


def _tensor(graph: Any, key: str, info: Any) -> Any:
    if info.WhichOneof("encoding") != "name":
        text = f"tensor {key!r} is sparse or composite; expected a dense one: make it dense inside the model"
        raise ModelLoadError(text)
    return graph.get_tensor_by_name(info.name)


def _traced(name: str, function: Any, code: CodePolicy) -> TracedSignature:
    _, arguments = function.structured_input_signature
    check_not_empty(name, arguments, function.structured_outputs)
    inputs = tuple(tensor_spec(key, spec.dtype, spec.shape) for key, spec in arguments.items())
    output_names = sorted(function.structured_outputs, key=_output_order)

    def call(tensors: Sequence[Any]) -> list[Any]:
        keys = [spec.name for spec in inputs]
        answers = function(**dict(zip(keys, tensors, strict=True)))
        return [answers[key] for key in output_names]

    flat = trace(name, call, inputs, code)
    spec = SignatureSpec(
        name=name,
        inputs=inputs,
        outputs=output_specs(flat, output_names, inputs),
        input_structure=named_structure([tensor.name for tensor in inputs]),
        output_structure=named_structure(output_names),
    )
    return TracedSignature(spec, flat)


def _output_order(name: str) -> tuple[str, int, str]:
    """Sort `output_10` after `output_9`: exports number the outputs of a list like that."""
    stem, _, number = name.rpartition("_")
    return (stem, int(number), "") if number.isdecimal() else (name, -1, "")
