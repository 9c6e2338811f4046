"""The backend: which library computes the models of this server.

Owns the seam that every backend follows, and the choice by the configuration. It imports a backend's module only when
that one is chosen, and no backend before its runtime's settings are known. The choice on the main thread, all else on
the loader thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from predictd_proto.errors import ConfigError
from predictd_server.models.files import ModelFile
from predictd_server.models.settings import ModelSettings

if TYPE_CHECKING:
    from predictd_server.runner import LoadedModel
    from predictd_server.settings import Settings

#: The package that each backend can't do without, and the extra of predictd that brings it.
_NEEDED = {"tensorflow": ("tensorflow", "server"), "jax": ("jax", "jax"), "torch": ("torch", "torch")}


class Backend(Protocol):
    """One library that computes models. What it loads is run, warmed up and judged alike, whichever it is."""

    def start(self, settings: Settings) -> dict[str, Any]:
        """Start the library with the server's settings; once, before anything else.

        Returns:
            The settings in effect, versions and devices, as `status` shows them.

        Raises:
            ConfigError: It can't be imported, or was started with other settings before.
        """
        ...

    def load(self, file: ModelFile, settings: ModelSettings, ladder: Sequence[int]) -> LoadedModel:
        """Load a model, and choose how each of its signatures is run.

        Args:
            file: What to load.
            settings: How.
            ladder: The batch sizes it will be run with, ascending.

        Raises:
            ModelLoadError: It can't be served; the text says why and what to do.
        """
        ...


def choose_backend(settings: Settings) -> Backend:
    """Return the backend that the settings name; nothing of it is started yet.

    Raises:
        ConfigError: Its library isn't installed.
    """
    package, extra = _NEEDED[settings.backend]
    if find_spec(package) is None:
        origin = settings.origins.get("backend", "default")
        text = (
            f"{origin}: backend = {settings.backend!r} needs the package {package}, which isn't installed here; "
            f"install it with: pip install 'predictd[{extra}]'{_instead(settings.backend)}"
        )
        raise ConfigError(text)
    if settings.backend == "tensorflow":
        from predictd_server.tensorflow.backend import TensorFlowBackend

        return TensorFlowBackend()
    from predictd_server.keras_backends.backend import KerasBackend

    return KerasBackend(settings.backend)


def _instead(backend: str) -> str:
    others = [name for name, (package, _) in _NEEDED.items() if name != backend and find_spec(package) is not None]
    return ", or set backend = " + " or ".join(map(repr, others)) if others else ""
