"""Weights on their way from eager TensorFlow into a session: constants, or variables that share their memory.

Owns which of them become constants, and the variables' making and filling. It builds no session. Loader thread.

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

#: Weights are made constants, the smallest first, up to this sum.
CONSTANT_LIMIT_BYTES = 32 << 20


class UnmovableError(Exception):
    """The graph captured something that can't be taken to another session."""


@dataclass(slots=True, eq=False)
class Move:
    """What is being moved: which tensor replaces which, and what has to be run once to fill the new session."""

    replacements: dict[str, Any] = field(default_factory=dict)
    fills: list[tuple[Any, dict[Any, NDArray[Any]]]] = field(default_factory=list)


def choose_constants(flat: FlatGraph, values: dict[str, NDArray[Any]], limit_bytes: int) -> set[str]:
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


def place_variable(move: Move, name: str, value: NDArray[Any], *, is_filled: bool = True) -> Any:
    """Return the handle of a new variable of the graph that is being built, and note how it gets its value."""
    dtype = tf.as_dtype(value.dtype)
    handle = tf.raw_ops.VarHandleOp(dtype=dtype, shape=value.shape, shared_name=f"weight/{name}")
    if is_filled:
        source = tf.compat.v1.placeholder(dtype, value.shape)
        fill = tf.raw_ops.AssignVariableOp(resource=handle, value=source)
        move.fills.append((fill, {source: value}))
    return handle


def shared_array(tensor: Any) -> NDArray[Any]:
    """Return a tensor's values, sharing its memory where that is possible (numbers on the CPU)."""
    if tensor.dtype.is_numpy_compatible and tensor.dtype != tf.string:
        try:
            return np.asarray(memoryview(tensor))
        except (TypeError, ValueError, BufferError):  # no buffer of that kind, such as bfloat16's
            pass
    array: NDArray[Any] = np.asarray(tensor.numpy())
    return array
