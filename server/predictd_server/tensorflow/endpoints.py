"""Endpoints: the functions of a SavedModel without signatures, which Keras reads with `TFSMLayer` only.

Owns the choice of one trace among those that a function was saved with, and its flat inputs. Loader thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import tensorflow as tf

from predictd_proto.errors import ModelLoadError
from predictd_proto.metadata import SignatureSpec
from predictd_server.keras_files.tensor_tree import leaves, leaves_with_keys, structure_of, unique_names
from predictd_server.models.code_policy import CodePolicy
from predictd_server.tensorflow.session_signature import check_not_empty
from predictd_server.tensorflow.source_model import TracedSignature, output_specs, tensor_spec, trace

#: What a bare call of the loaded object is called as a signature.
CALL = "call"


def read_endpoints(loaded: Any, code: CodePolicy) -> dict[str, Callable[[], TracedSignature]]:
    """Return, by the name of each function that a loaded object has, what traces it.

    Args:
        loaded: What `tf.saved_model.load` gave.
        code: What becomes of graphs that do more than compute.
    """
    found: dict[str, Callable[[], TracedSignature]] = {}
    for attribute, value in sorted(vars(loaded).items()):
        traces = getattr(value, "concrete_functions", None)
        if traces:
            name = CALL if attribute == "__call__" else attribute
            found.setdefault(name, partial(_traced, name, value, list(traces), code))
    return found


def _traced(name: str, function: Any, traces: Sequence[Any], code: CodePolicy) -> TracedSignature:
    servable = [each for each in traces if all(_is_servable(leaf) for leaf in _arguments(each))]
    if not servable:
        text = f"endpoint {name!r} takes something other than dense tensors; expected dense ones"
        raise ModelLoadError(text)
    concrete = min(servable, key=_order)
    args, kwargs = concrete.structured_input_signature
    specs = [leaf for leaf in _arguments(concrete) if isinstance(leaf, tf.TensorSpec)]
    names = unique_names([spec.name or f"input_{index}" for index, spec in enumerate(specs)])
    inputs = tuple(tensor_spec(each, spec.dtype, spec.shape) for each, spec in zip(names, specs, strict=True))
    answered: list[Any] = []

    def call(tensors: Sequence[Any]) -> list[Any]:
        values = iter(tensors)
        answer = _in_order(function(*_filled(args, values), **_filled(kwargs, values)))
        answered.append(answer)
        return leaves(answer)

    flat = trace(name, call, inputs, code)
    keyed = list(leaves_with_keys(answered[-1]))
    output_names = unique_names([key or f"output_{index}" for index, (key, _) in enumerate(keyed)])
    check_not_empty(name, dict.fromkeys(names), dict.fromkeys(output_names))
    spec = SignatureSpec(
        name=name,
        inputs=inputs,
        outputs=output_specs(flat, output_names, inputs),
        input_structure=names[0] if len(names) == 1 else {each: each for each in names},
        output_structure=structure_of(answered[-1], output_names),
    )
    return TracedSignature(spec, flat)


def _arguments(concrete: Any) -> Iterator[Any]:
    args, kwargs = concrete.structured_input_signature
    yield from tf.nest.flatten((args, kwargs))


def _filled(arguments: Any, values: Iterator[Any]) -> Any:
    return tf.nest.map_structure(lambda leaf: next(values) if isinstance(leaf, tf.TensorSpec) else leaf, arguments)


def _in_order(tree: Any) -> Any:
    """Return an answer with its keys sorted: the file keeps them in no order, which would differ from load to load."""
    if isinstance(tree, Mapping):
        return {key: _in_order(tree[key]) for key in sorted(tree)}
    return [_in_order(child) for child in tree] if isinstance(tree, (list, tuple)) else tree


def _is_servable(leaf: Any) -> bool:
    if isinstance(leaf, tf.TensorSpec):
        return leaf.shape.rank is not None
    return leaf is None or isinstance(leaf, (bool, int, float, str))


def _order(concrete: Any) -> tuple[bool, int]:
    """Sort inference before training, and traces that take any number of rows before those that take one."""
    arguments = list(_arguments(concrete))
    fixed = sum(axis is not None for leaf in arguments if isinstance(leaf, tf.TensorSpec) for axis in leaf.shape)
    return any(leaf is True for leaf in arguments), fixed
