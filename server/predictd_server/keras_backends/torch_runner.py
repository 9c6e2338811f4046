"""Running a Keras model through PyTorch, as Keras does: one operation after the other.

Owns nothing but the call. Any thread: the mode without gradients belongs to the thread that runs.
"""

from __future__ import annotations

from itertools import count
from typing import Any

import keras
import numpy as np
import torch  # pyright: ignore[reportMissingImports]  (an extra of its own)
from numpy.typing import NDArray

from predictd_server.keras_backends.torch_tensors import device_of, release_weights, to_array, to_tensor
from predictd_server.keras_files.tensor_tree import leaves, rebuild
from predictd_server.models.load_failure import reason_of
from predictd_server.runner import Arrays


class TorchRunner:
    """Runs a Keras model eagerly.

    Args:
        model: The model; owned.
        input_tree: How it nests its inputs.

    Attributes:
        answer_tree: How it nests its answers, its leaves numbered; None before the first run.
    """

    kind = "torch-eager"

    def __init__(self, model: Any, input_tree: Any) -> None:
        self.answer_tree: Any = None
        self._model: Any = model
        self._input_tree = input_tree
        self._device = device_of(model)

    def run(self, inputs: Arrays) -> Arrays:
        """Run the model once; see `Runner.run`."""
        if self._model is None:
            text = f"the runner is closed, and can't run {len(inputs)} inputs"
            raise RuntimeError(text)
        with torch.inference_mode():
            tensors = [to_tensor(array, self._device) for array in inputs]
            try:
                tree = self._model(rebuild(self._input_tree, iter(tensors)), training=False)
            except Exception as error:
                # Keras wraps the cause in a page about every layer on the way to it.
                raise RuntimeError(reason_of(error)) from error
            if self.answer_tree is None:
                self.answer_tree = rebuild(tree, count())
            return [to_array(leaf) for leaf in leaves(tree)]

    @property
    def notes(self) -> tuple[str, ...]:
        """What an operator should know: nothing."""
        return ()

    def writes(self, inputs: Arrays) -> tuple[str, ...]:
        """Return the paths of the variables that a run changes; see `KerasRunner.writes`."""
        before = self._states()
        self.run(inputs)
        after = self._states()
        return tuple(path for path, value in before.items() if not np.array_equal(value, after[path], equal_nan=True))

    def close(self) -> None:
        """Release the weights."""
        if self._model is not None:
            release_weights(self._model)
        self._model = None

    def _states(self) -> dict[str, NDArray[Any]]:
        """Return what a run may change: variables, and those that a recurrent layer hides from its model's list."""
        held = [value for layer in self._model.modules() for value in leaves(list(vars(layer).values()))]
        hidden = [value for value in held if isinstance(value, keras.Variable) and not value.trainable]
        return {
            variable.path: to_array(variable.value).copy()
            for variable in (*self._model.non_trainable_variables, *hidden)
        }
