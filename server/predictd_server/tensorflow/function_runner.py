"""Running a signature as a concrete function: the reference, and the last resort.

Owns nothing but the call. Every other way is compared with it. Any thread; TensorFlow's eager context is shared.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from predictd_server.runner import Arrays


class FunctionRunner:
    """Runs a concrete function.

    Args:
        function: Takes its inputs by position and returns a list.
        owner: What keeps the function's variables alive: a function refers to them weakly.
    """

    kind = "concrete-function"

    def __init__(self, function: Any, owner: Any) -> None:
        self._function = function
        self._owner = owner
        captured = len(function.captured_inputs)
        data_inputs = function.inputs[: len(function.inputs) - captured]
        self._dtypes = [tensor.dtype for tensor in data_inputs]

    def run(self, inputs: Arrays) -> Arrays:
        """Run the function once; see `Runner.run`."""
        # The dtype is given because an empty array of objects says nothing of strings.
        tensors = [tf.constant(array, dtype) for array, dtype in zip(inputs, self._dtypes, strict=True)]
        return [np.asarray(tensor.numpy()) for tensor in self._function(*tensors)]  # pyright: ignore[reportOptionalCall]  (typeshed's stubs)

    def close(self) -> None:
        """Let go of the model."""
        self._function = self._owner = None
