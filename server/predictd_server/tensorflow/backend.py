"""TensorFlow as the server's backend.

Owns what the server's settings are called in TensorFlow's runtime. Loader thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from predictd_server.models.files import ModelFile
from predictd_server.models.settings import ModelSettings
from predictd_server.tensorflow.runtime import RuntimeSettings, configure, describe

if TYPE_CHECKING:
    from predictd_server.runner import LoadedModel
    from predictd_server.settings import Settings


class TensorFlowBackend:
    """Models in TensorFlow's graphs and sessions."""

    def start(self, settings: Settings) -> dict[str, Any]:
        """Start TensorFlow; see `Backend.start`."""
        configure(
            RuntimeSettings(
                intra_op_threads=settings.intra_op_threads,
                inter_op_threads=settings.inter_op_threads,
                memory_growth=settings.memory_growth,
                deterministic=settings.deterministic,
                onednn={"auto": None, "on": True, "off": False}[settings.onednn],
            )
        )
        return {"backend": settings.backend, **describe()}

    def load(self, file: ModelFile, settings: ModelSettings, ladder: Sequence[int]) -> LoadedModel:
        """Load a model; see `Backend.load`."""
        # After `start`: it imports TensorFlow, whose settings can't be changed any more then.
        from predictd_server.tensorflow.loading import load_model

        return load_model(file, settings, ladder)
