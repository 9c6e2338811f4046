"""The start of Keras on JAX or PyTorch: the settings that must be made before, and what came of them.

Owns the choice of Keras' backend in this process, and that TensorFlow stays out of it. Loader thread, once.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import version
from types import ModuleType
from typing import TYPE_CHECKING, Any

from predictd_proto.errors import ConfigError

if TYPE_CHECKING:
    from predictd_server.settings import Settings

_BACKEND = "KERAS_BACKEND"
_TENSORFLOW = "tensorflow"


def start(name: str, settings: Settings) -> dict[str, Any]:
    """Start Keras on a backend, with the server's settings.

    Args:
        name: "jax" or "torch".
        settings: Threads, memory, determinism.

    Returns:
        The settings in effect, versions and devices.

    Raises:
        ConfigError: The library can't be imported, or this process has Keras on another backend already.
    """
    _keep_tensorflow_out()
    # Whatever the user's own keras.json says is for their processes.
    os.environ[_BACKEND] = name
    described = _started(name, settings)
    actual = _keras_backend(name)
    if actual != name:
        text = f"backend = {name!r} comes too late: Keras was imported before, with the backend {actual}; restart"
        raise ConfigError(text)
    return {"backend": name, "keras": version("keras"), **described}


class _WithoutTensorFlow(PathFinder):
    """Finds every module but TensorFlow, as where it isn't installed: Keras imports it where it is."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a module is; None for TensorFlow and its parts."""
        return None if fullname.partition(".")[0] == _TENSORFLOW else super().find_spec(fullname, path, target)


def _keep_tensorflow_out() -> None:
    """A second runtime would take threads and memory of its own."""
    if _TENSORFLOW in sys.modules:
        text = "TensorFlow is imported in this process already; a server computes with one library: restart"
        raise ConfigError(text)
    sys.meta_path[:] = [_WithoutTensorFlow if finder is PathFinder else finder for finder in sys.meta_path]


def _started(name: str, settings: Settings) -> dict[str, Any]:
    try:
        if name == "jax":
            from predictd_server.keras_backends import jax_start

            return jax_start.start(settings)
        from predictd_server.keras_backends import torch_start

        return torch_start.start(settings)
    except ImportError as error:
        raise _unimportable(name, error) from error


def _keras_backend(name: str) -> str:
    try:
        import keras
    except ImportError as error:
        raise _unimportable(name, error) from error
    logging.getLogger("absl").setLevel(logging.ERROR)
    return str(keras.backend.backend())


def _unimportable(name: str, error: ImportError) -> ConfigError:
    return ConfigError(
        f"backend = {name!r}: Keras on it can't be imported: {error}; install it with: pip install 'predictd[{name}]'"
    )
