"""Keras on JAX or PyTorch as the server's backend.

Owns nothing but the order: start, then load. Loader thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from predictd_server.keras_backends.runtime import start
from predictd_server.models.files import ModelFile
from predictd_server.models.settings import ModelSettings

if TYPE_CHECKING:
    from predictd_server.runner import LoadedModel
    from predictd_server.settings import Settings


class KerasBackend:
    """Keras' files, computed by JAX or PyTorch.

    Args:
        name: "jax" or "torch".
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def start(self, settings: Settings) -> dict[str, Any]:
        """Start Keras on the backend; see `Backend.start`."""
        return start(self._name, settings)

    def load(self, file: ModelFile, settings: ModelSettings, ladder: Sequence[int]) -> LoadedModel:
        """Load a model; see `Backend.load`."""
        # After `start`: it imports Keras, whose backend can't be changed any more then.
        from predictd_server.keras_backends.loading import load_model

        return load_model(file, settings, ladder, self._name)
