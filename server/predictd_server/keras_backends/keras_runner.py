"""What both backends' runners have in common.

Owns the protocol, and the choice of the class. Loader thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from predictd_proto.tensors import TensorSpec
from predictd_server.runner import Arrays, Runner


class KerasRunner(Runner, Protocol):
    """Runs a Keras model, and tells what Keras alone knows of it.

    Attributes:
        answer_tree: How it nests its answers, its leaves numbered; None before the first run.
    """

    answer_tree: Any

    @property
    def notes(self) -> tuple[str, ...]:
        """What an operator should know about this way of running; complete after the first run."""
        ...

    def writes(self, inputs: Arrays) -> tuple[str, ...]:
        """Return the paths of the variables that a run changes; it runs the model once.

        Args:
            inputs: What with.
        """
        ...


def make_runner(backend: str, model: Any, input_tree: Any, inputs: Sequence[TensorSpec]) -> KerasRunner:
    """Return the runner of a backend.

    Args:
        backend: "jax" or "torch".
        model: The model; the runner's from now on.
        input_tree: How it nests its inputs.
        inputs: Their specs, in the order of the tree's leaves.
    """
    if backend == "jax":
        from predictd_server.keras_backends.jax_runner import JaxRunner

        return JaxRunner(model, input_tree, inputs)
    from predictd_server.keras_backends.torch_runner import TorchRunner

    return TorchRunner(model, input_tree)
