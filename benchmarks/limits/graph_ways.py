"""Ways of running a model inside one's own process: what a caller without any daemon can have.

Owns the concrete function, a session's callable over a frozen graph, `model.predict` and a plain copy of the same
bytes. Each is given a batch and returns numbers as numpy has them, as an answer would have to. The callable is made as
the daemon makes its own, without the public `make_callable` around it, which takes 85 of its 95 us for a small model.
Imports TensorFlow: only `model_process.py` may import this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

Call = Callable[[NDArray[Any]], object]


class GraphWays:
    """One model, and every way of running it.

    Args:
        path: The model's file.
        row: A row, for its dtype and shape.
    """

    def __init__(self, path: str, row: NDArray[Any]) -> None:
        self.model = keras.saving.load_model(path, compile=False)
        dtype = tf.string if row.dtype == object else tf.as_dtype(row.dtype)
        spec = tf.TensorSpec([None, *row.shape[1:]], dtype)
        run = tf.function(lambda x: self.model(x, training=False), autograph=False)
        self._concrete = run.get_concrete_function(spec)
        self._copies: dict[int, NDArray[Any]] = {}

    def concrete(self, batch: NDArray[Any]) -> object:
        """The concrete function."""
        return self._concrete(tf.constant(batch)).numpy()

    def predict(self, batch: NDArray[Any]) -> object:
        """Keras' own way, with all rows in one of its batches."""
        return self.model.predict(_tensors(batch), batch_size=len(batch), verbose=0)

    def memcpy(self, batch: NDArray[Any]) -> object:
        """A copy of the same bytes into memory that is mapped already: the fastest copy there is."""
        kept = self._copies.setdefault(len(batch), np.empty_like(batch))
        np.copyto(kept, batch)
        return kept

    def session(self) -> Call:
        """The callable of a session over the frozen graph.

        Raises:
            ValueError: This graph can't be frozen, such as one with lookup tables.
        """
        if any(operation.type.startswith("LookupTable") for operation in _operations(self._concrete)):
            text = "a graph with lookup tables can't be frozen"
            raise ValueError(text)
        frozen = convert_variables_to_constants_v2(self._concrete)
        graph = tf.Graph()
        with graph.as_default():
            tf.graph_util.import_graph_def(frozen.graph.as_graph_def(), name="")
        session = tf.compat.v1.Session(graph=graph)
        options = config_pb2.CallableOptions(feed=[frozen.inputs[0].name], fetch=[frozen.outputs[0].name])
        # In the caller's thread, as the daemon runs small models.
        options.run_options.inter_op_thread_pool = -1
        run: Call = session._make_callable_from_options(options)
        return run


def _tensors(batch: NDArray[Any]) -> object:
    # Keras takes strings as tensors only.
    return tf.constant(batch) if batch.dtype == object else batch


def _operations(concrete: Any) -> list[Any]:
    functions = [concrete.graph, *(function.graph for function in concrete.graph._functions.values())]
    return [operation for graph in functions for operation in graph.get_operations()]
