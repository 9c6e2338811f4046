"""A signature's graph compiled by XLA, in a session of its own.

Owns the function that XLA compiles and the count of its programs: one for each shape of the inputs, made when it is met
first. It decides nothing: whether compiling pays, and whether all shapes are known beforehand, is `selection.py`'s.

Measured on 2 cores against the plain session, 1 and 8 rows: a transformer of two blocks 1.3 to 1.9 times as fast, where
many small operations become one loop; a plain MLP 0.4 to 0.5, a small CNN 0.5 to 0.85, MobileNetV2 (by auto-clustering)
0.1. Called as a `tf.function(jit_compile=True)` it is 0.4 ms slower.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow.core.framework import graph_pb2

from predictd_server.runner import Arrays
from predictd_server.tensorflow.flat_graph import FlatGraph
from predictd_server.tensorflow.session_runner import SessionRunner, session_config
from predictd_server.tensorflow.weights import Move, UnmovableError, choose_constants, place_variable, shared_array

KIND = "session-xla"


class CompiledRunner(SessionRunner):
    """Runs a session whose graph is compiled for each shape of its inputs.

    Attributes:
        traces: How many programs there are.
    """

    def __init__(self, session: Any, feeds: list[str], fetches: list[str]) -> None:
        super().__init__(KIND, session, feeds, fetches)
        self._shapes: set[tuple[tuple[int, ...], ...]] = set()

    @property
    def traces(self) -> int:
        """How many programs there are."""
        return len(self._shapes)

    def run(self, inputs: Arrays) -> Arrays:
        """Run the graph once; see `Runner.run`."""
        self._shapes.add(tuple([array.shape for array in inputs]))
        return super().run(inputs)


def build_compiled_session(flat: FlatGraph, constant_limit_bytes: int) -> SessionRunner:
    """Return a runner of the compiled graph in a session of its own.

    Args:
        flat: The graph.
        constant_limit_bytes: How many bytes of weights may become constants of the program.

    Raises:
        UnmovableError: It captured a lookup table or the like, which XLA hasn't got.
    """
    values = {name: shared_array(variable.read_value()) for name, variable in flat.variables.items()}
    plain = {name: shared_array(tensor) for name, tensor in flat.captures.items() if tensor.dtype != tf.resource}
    others = flat.captures.keys() - values.keys() - plain.keys()
    if others:
        text = f"XLA has no resources other than variables; it captured {', '.join(sorted(others))}"
        raise UnmovableError(text)
    constants = choose_constants(flat, values, constant_limit_bytes)
    graph, move = tf.Graph(), Move()
    with graph.as_default():
        for name in values.keys() - constants:
            move.replacements[f"{name}:0"] = place_variable(move, name, values[name])
        for name, value in plain.items():
            handle = place_variable(move, name, value)
            move.replacements[f"{name}:0"] = tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.as_dtype(value.dtype))
        feeds = [_placeholder(flat, name) for name in flat.inputs]

        def body(*tensors: Any) -> Any:
            # A function's graph is another graph: what it takes from outside has to be handed in.
            inside = tf.compat.v1.get_default_graph()
            replacements = {name: inside.capture(tensor) for name, tensor in move.replacements.items()}
            for name in constants:
                constant = tf.constant(values[name])
                replacements.update({f"{use.node.name}:0": constant for use in flat.uses[name]})
            replacements.update(zip(flat.inputs, tensors, strict=True))
            return tf.import_graph_def(_without_reads(flat, constants), replacements, list(flat.outputs), name="model")

        fetches = tf.function(body, jit_compile=True, autograph=False)(*feeds)
    session = tf.compat.v1.Session(graph=graph, config=session_config(is_serial=True))
    try:
        for operation, feed in move.fills:
            session.run(operation, feed)
        return CompiledRunner(session, [tensor.name for tensor in feeds], [tensor.name for tensor in fetches])
    except BaseException:
        session.close()
        raise


def _placeholder(flat: FlatGraph, name: str) -> Any:
    node = next(node for node in flat.graph_def.node if node.name == name.split(":", maxsplit=1)[0])
    return tf.compat.v1.placeholder(tf.as_dtype(node.attr["dtype"].type), tf.TensorShape(node.attr["shape"].shape))


def _without_reads(flat: FlatGraph, constants: set[str]) -> Any:
    """Return the graph without what reads the weights that became constants: XLA refuses a read of nothing."""
    gone = constants | {use.node.name for name in constants for use in flat.uses[name]}
    graph_def = graph_pb2.GraphDef()
    graph_def.CopyFrom(flat.graph_def)
    del graph_def.node[:]
    graph_def.node.extend(node for node in flat.graph_def.node if node.name not in gone)
    return graph_def
