"""Running a Keras model through JAX: one compiled program for each shape of the inputs.

Owns the programs, their number, and the values of the variables that they take. Any thread; what a model writes to
itself (the state of its random numbers) is carried on under a lock.

The programs are compiled ahead of time and looked up by shape instead of in `jax.jit`'s own cache: there they could be
neither counted nor let go of. A call costs the same, 22 microseconds for a 64-128-10 MLP on 2 cores.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from itertools import count
from time import perf_counter
from typing import Any

import jax  # pyright: ignore[reportMissingImports]  (an extra of its own)
import keras
import numpy as np
from numpy.typing import NDArray

from predictd_proto.tensors import TensorSpec
from predictd_server.keras_files.tensor_tree import leaves, rebuild
from predictd_server.runner import Arrays

_log = logging.getLogger(__name__)

#: A client chooses the lengths of free axes; what was used least recently makes room.
MOST_PROGRAMS = 256
#: Requests that had to wait for a program are worth this many warnings.
_MOST_WARNINGS = 3

_SHORT = {"int64": np.dtype(np.int32), "uint64": np.dtype(np.uint32), "float64": np.dtype(np.float32)}


class JaxRunner:
    """Runs a Keras model compiled by XLA.

    Args:
        model: The model; owned.
        input_tree: How it nests its inputs.
        inputs: Their specs, in the order of the tree's leaves.

    Attributes:
        answer_tree: How it nests its answers, its leaves numbered; None before the first run.
        traces: How many programs were compiled.
    """

    kind = "jax-jit"

    def __init__(self, model: Any, input_tree: Any, inputs: Sequence[TensorSpec]) -> None:
        self.answer_tree: Any = None
        self.traces = 0
        self._model: Any = model
        self._input_tree = input_tree
        self._shorts = [None if jax.config.jax_enable_x64 else _SHORT.get(spec.dtype) for spec in inputs]
        self._variables = list(model.variables)
        self._values = [variable.value for variable in self._variables]
        self._written: tuple[int, ...] = ()
        self._drops_state = False
        self._programs: OrderedDict[tuple[tuple[int, ...], ...], Any] = OrderedDict()
        self._lock = threading.Lock()
        self._loader = threading.get_ident()

    def run(self, inputs: Arrays) -> Arrays:
        """Run the model once; see `Runner.run`."""
        arrays = [
            array if short is None else _shortened(array, short)
            for array, short in zip(inputs, self._shorts, strict=True)
        ]
        program = self._program(arrays)
        if self._written:
            with self._lock:
                answers, written = program(self._values, arrays)
                for index, value in zip(self._written, written, strict=True):
                    self._values[index] = value
        else:
            answers, _ = program(self._values, arrays)
        return [np.asarray(answer) for answer in answers]

    @property
    def notes(self) -> tuple[str, ...]:
        """What an operator should know; see `KerasRunner.notes`."""
        notes = []
        if self._drops_state:
            notes.append(
                "it keeps a state between calls, which Keras on JAX forgets: each run begins with the saved one"
            )
        if any(short is not None for short in self._shorts):
            notes.append("its inputs of 64 bits are computed with 32, JAX's default: JAX_ENABLE_X64=1 changes that")
        return tuple(notes)

    def writes(self, inputs: Arrays) -> tuple[str, ...]:
        """Return the paths of the variables that a run changes; see `KerasRunner.writes`."""
        self.run(inputs)
        return tuple(self._variables[index].path for index in self._written)

    def close(self) -> None:
        """Release the programs and the weights."""
        self._programs.clear()
        # A Keras model is full of reference cycles: without this its weights would wait for the next collection.
        for value in self._values:
            value.delete()
        self._values, self._variables = [], []
        self._model = None

    def _program(self, arrays: Sequence[NDArray[Any]]) -> Any:
        shapes = tuple(array.shape for array in arrays)
        program = self._programs.get(shapes)
        if program is None:
            program = self._compiled(arrays)
            while len(self._programs) >= MOST_PROGRAMS:
                self._programs.popitem(last=False)
            self._programs[shapes] = program
        else:
            self._programs.move_to_end(shapes)
        return program

    def _compiled(self, arrays: Sequence[NDArray[Any]]) -> Any:
        if self._model is None:
            text = f"the runner is closed, and can't run {len(arrays)} inputs"
            raise RuntimeError(text)
        started = perf_counter()
        shapes = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in arrays]
        program = jax.jit(self._call).lower(self._values, shapes).compile()
        self.traces += 1
        # Loading and warming up compile on the loader's thread; elsewhere a request is waiting.
        if threading.get_ident() != self._loader and self.traces - len(self._programs) < _MOST_WARNINGS:
            _log.warning(
                "compiled for inputs of the shapes %s while a request waited, %.2f s: no warm-up had covered them; "
                "set the model's lengths, so that other lengths are padded to those",
                ", ".join(str(list(array.shape)) for array in arrays),
                perf_counter() - started,
            )
        return program

    def _call(self, values: Sequence[Any], tensors: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        with keras.StatelessScope(state_mapping=list(zip(self._variables, values, strict=True))) as scope:
            tree = self._model(rebuild(self._input_tree, iter(tensors)), training=False)
        after = [scope.get_current_value(variable) for variable in self._variables]
        # Nothing was computed yet: a variable that was not assigned to has the very object that was put in.
        self._drops_state = len(scope.state_mapping) > len(self._variables)
        written = [index for index, value in enumerate(after) if value is not None and value is not values[index]]
        self.answer_tree = rebuild(tree, count())
        self._written = tuple(written)
        return leaves(tree), [after[index] for index in written]


def _shortened(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """JAX computes with 32 bits unless JAX_ENABLE_X64 is set, and would cut whole numbers without a word."""
    if dtype.kind in "iu" and array.size:
        limits = np.iinfo(dtype)
        low, high = int(array.min()), int(array.max())
        if low < limits.min or high > limits.max:
            text = (
                f"an input holds whole numbers from {low} to {high}, and JAX computes with {dtype.name}; "
                "send smaller ones, or start the daemon with JAX_ENABLE_X64=1"
            )
            raise ValueError(text)
    return array.astype(dtype)
