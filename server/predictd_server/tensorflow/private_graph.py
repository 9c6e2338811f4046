"""A signature's graph in a graph and session of its own: the fast way.

Owns the graph around weights, and the move of lookup tables out of eager TensorFlow into the session. It compares
nothing. Loader thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from numpy.typing import NDArray

from predictd_server.tensorflow.flat_graph import FlatGraph
from predictd_server.tensorflow.session_runner import SessionRunner, session_config
from predictd_server.tensorflow.weights import (
    CONSTANT_LIMIT_BYTES,
    Move,
    UnmovableError,
    choose_constants,
    place_variable,
    shared_array,
)

_SCOPE = "model"
_TABLE_READS = {"LookupTableFindV2", "LookupTableSizeV2"}


def build_session(
    flat: FlatGraph, constant_limit_bytes: int = CONSTANT_LIMIT_BYTES, *, is_serial: bool = False
) -> SessionRunner:
    """Return a runner of the graph in a session of its own.

    Args:
        flat: The graph.
        constant_limit_bytes: How many bytes of weights may become constants.
        is_serial: Run one operation after the other: faster where nothing is gained by running some side by side.

    Raises:
        UnmovableError: It captured a resource that is neither a variable nor a table that is only read.
    """
    values = {name: shared_array(variable.read_value()) for name, variable in flat.variables.items()}
    plain = {name: shared_array(tensor) for name, tensor in flat.captures.items() if tensor.dtype != tf.resource}
    tables = {name: _table(name, flat) for name in flat.captures if name not in values and name not in plain}
    constants = choose_constants(flat, values, constant_limit_bytes)
    graph, move = tf.Graph(), Move()
    with graph.as_default():
        for name, value in values.items():
            handle = place_variable(move, name, value, is_filled=name not in constants)
            move.replacements[f"{name}:0"] = handle
        for name in constants:
            constant = tf.constant(values[name])
            move.replacements.update({f"{use.node.name}:0": constant for use in flat.uses[name]})
        for name, value in plain.items():
            read = tf.raw_ops.ReadVariableOp(resource=place_variable(move, name, value), dtype=tf.as_dtype(value.dtype))
            move.replacements[f"{name}:0"] = read
        for name, table in tables.items():
            move.replacements[f"{name}:0"] = _hash_table(move, name, table)
        # Keeps the control flow's own names apart from ours.
        names = [*flat.inputs, *flat.outputs]
        tensors = tf.import_graph_def(flat.graph_def, move.replacements, names, name=_SCOPE)
    session = tf.compat.v1.Session(graph=graph, config=session_config(is_serial=is_serial))
    split = len(flat.inputs)
    feeds, fetches = [tensor.name for tensor in tensors[:split]], [tensor.name for tensor in tensors[split:]]
    return filled_runner("session", session, move, feeds, fetches)


def filled_runner(kind: str, session: Any, move: Move, feeds: list[str], fetches: list[str]) -> SessionRunner:
    """Return a runner of a session once what was moved is in it; a session that can't be run is closed."""
    try:
        for operation, feed in move.fills:
            session.run(operation, feed)
        return SessionRunner(kind, session, feeds, fetches)
    except BaseException:
        session.close()
        raise


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


def _hash_table(move: Move, name: str, table: _Table) -> Any:
    key_dtype, value_dtype = tf.as_dtype(table.keys.dtype), tf.as_dtype(table.values.dtype)
    # Without a name of its own the table would go with the kernel that made it.
    handle = tf.raw_ops.HashTableV2(key_dtype=key_dtype, value_dtype=value_dtype, shared_name=f"table/{name}")
    keys = tf.compat.v1.placeholder(key_dtype, table.keys.shape)
    values = tf.compat.v1.placeholder(value_dtype, table.values.shape)
    fill = tf.raw_ops.InitializeTableV2(table_handle=handle, keys=keys, values=values)
    move.fills.append((fill, {keys: table.keys, values: table.values}))
    return handle
