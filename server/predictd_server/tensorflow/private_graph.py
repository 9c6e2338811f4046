"""A signature's graph in a graph and session of its own: the fast way.

Owns the move of weights and lookup tables out of eager TensorFlow into the session. It decides what becomes a constant
and compares nothing. Loader thread.

Small weights become constants, which TensorFlow folds into each other (batch normalisation into convolutions) and whose
layout oneDNN prepares once: 4.2 against 6.5 ms for one row of MobileNetV2 at 96x96, 19 against 30 ms for eight. A
constant costs about four times its size, because graph, session and kernels each keep a copy, and constants of 100 MB
take seconds to make. So large weights stay variables, which share the memory of the model they came from: no copy, now
or later. ResNet50 (98 MB) gains nearly all with its smallest 32 MB.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from predictd_server.tensorflow.flat_graph import READ, FlatGraph, Use
from predictd_server.tensorflow.session_runner import SessionRunner, session_config

#: Weights are made constants, the smallest first, up to this sum.
CONSTANT_LIMIT_BYTES = 32 << 20
_SCOPE = "model"
_TABLE_READS = {"LookupTableFindV2", "LookupTableSizeV2"}


class UnmovableError(Exception):
    """The graph captured something that can't be taken to another session."""


@dataclass(slots=True, eq=False)
class _Move:
    """What is being moved: which tensor replaces which, and what has to be run once to fill the new session."""

    replacements: dict[str, Any] = field(default_factory=dict)
    fills: list[tuple[Any, dict[Any, NDArray[Any]]]] = field(default_factory=list)


def build_session(flat: FlatGraph, constant_limit_bytes: int = CONSTANT_LIMIT_BYTES) -> SessionRunner:
    """Return a runner of the graph in a session of its own.

    Args:
        flat: The graph.
        constant_limit_bytes: How many bytes of weights may become constants.

    Raises:
        UnmovableError: It captured a resource that is neither a variable nor a table that is only read.
    """
    values = {name: _shared_array(variable.read_value()) for name, variable in flat.variables.items()}
    plain = {name: _shared_array(tensor) for name, tensor in flat.captures.items() if tensor.dtype != tf.resource}
    tables = {name: _table(name, flat) for name in flat.captures if name not in values and name not in plain}
    constants = _constants(flat, values, constant_limit_bytes)
    graph, move = tf.Graph(), _Move()
    with graph.as_default():
        for name, value in values.items():
            handle = _variable(move, name, value, is_filled=name not in constants)
            move.replacements[f"{name}:0"] = handle
        for name in constants:
            constant = tf.constant(values[name])
            move.replacements.update({f"{use.node.name}:0": constant for use in flat.uses[name]})
        for name, value in plain.items():
            read = tf.raw_ops.ReadVariableOp(resource=_variable(move, name, value), dtype=tf.as_dtype(value.dtype))
            move.replacements[f"{name}:0"] = read
        for name, table in tables.items():
            move.replacements[f"{name}:0"] = _hash_table(move, name, table)
        # Keeps the control flow's own names apart from ours.
        names = [*flat.inputs, *flat.outputs]
        tensors = tf.import_graph_def(flat.graph_def, move.replacements, names, name=_SCOPE)
    session = tf.compat.v1.Session(graph=graph, config=session_config())
    for operation, feed in move.fills:
        session.run(operation, feed)
    split = len(flat.inputs)
    feeds, fetches = [tensor.name for tensor in tensors[:split]], [tensor.name for tensor in tensors[split:]]
    return SessionRunner("session", session, feeds, fetches)


def _constants(flat: FlatGraph, values: dict[str, NDArray[Any]], limit_bytes: int) -> set[str]:
    """Choose the weights that become constants: those that are only read whole, the smallest first."""
    readable = [name for name, uses in flat.uses.items() if name in values and _are_reads(uses)]
    chosen: set[str] = set()
    total_bytes = 0
    for name in sorted(readable, key=lambda name: values[name].nbytes):
        total_bytes += values[name].nbytes
        if total_bytes > limit_bytes:
            break
        chosen.add(name)
    return chosen


def _are_reads(uses: list[Use]) -> bool:
    return all(use.node.op == READ for use in uses)


def _variable(move: _Move, name: str, value: NDArray[Any], *, is_filled: bool = True) -> Any:
    dtype = tf.as_dtype(value.dtype)
    handle = tf.raw_ops.VarHandleOp(dtype=dtype, shape=value.shape, shared_name=f"weight/{name}")
    if is_filled:
        source = tf.compat.v1.placeholder(dtype, value.shape)
        fill = tf.raw_ops.AssignVariableOp(resource=handle, value=source)
        move.fills.append((fill, {source: value}))
    return handle


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    keys: NDArray[Any]
    values: NDArray[Any]


def _table(name: str, flat: FlatGraph) -> _Table:
    """Read a lookup table's contents."""
    uses = flat.uses[name]
    finds = [use.node for use in uses if use.node.op == "LookupTableFindV2"]
    others = sorted({use.node.op for use in uses} - _TABLE_READS)
    if others or not finds:
        text = f"the resource {name!r} is used by {', '.join(others) or 'nothing'}"
        raise UnmovableError(text)
    keys, values = tf.raw_ops.LookupTableExportV2(
        table_handle=flat.captures[name], Tkeys=finds[0].attr["Tin"].type, Tvalues=finds[0].attr["Tout"].type
    )
    return _Table(keys.numpy(), values.numpy())


def _hash_table(move: _Move, name: str, table: _Table) -> Any:
    key_dtype, value_dtype = tf.as_dtype(table.keys.dtype), tf.as_dtype(table.values.dtype)
    # Without a name of its own the table would go with the kernel that made it.
    handle = tf.raw_ops.HashTableV2(key_dtype=key_dtype, value_dtype=value_dtype, shared_name=f"table/{name}")
    keys = tf.compat.v1.placeholder(key_dtype, table.keys.shape)
    values = tf.compat.v1.placeholder(value_dtype, table.values.shape)
    fill = tf.raw_ops.InitializeTableV2(table_handle=handle, keys=keys, values=values)
    move.fills.append((fill, {keys: table.keys, values: table.values}))
    return handle


def _shared_array(tensor: Any) -> NDArray[Any]:
    """Return a tensor's values, sharing its memory where that is possible (numbers on the CPU)."""
    if tensor.dtype.is_numpy_compatible and tensor.dtype != tf.string:
        try:
            return np.asarray(memoryview(tensor))
        except (TypeError, ValueError, BufferError):  # no buffer of that kind, such as bfloat16's
            pass
    array: NDArray[Any] = np.asarray(tensor.numpy())
    return array
