"""The loader thread: brings models from their files to "ready", one after the other.

Owns the order in which versions are loaded and published. Requests are answered meanwhile: models that are not ready
yet say so.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from predictd_proto.errors import PredictdError
from predictd_server.models.files import ModelFile
from predictd_server.models.policy import wanted
from predictd_server.models.registry import FAILED, LOADING, Registry, ServedModel
from predictd_server.models.repository import Repository
from predictd_server.models.settings import ModelSettings
from predictd_server.models.version_loading import VersionLoading, unloaded
from predictd_server.settings import Settings

_log = logging.getLogger("predictd")


class Loader:
    """Loads the models of a repository.

    Args:
        settings: The server's.
        registry: Where models are published.
        repository: What there is.
        on_done: Called on the loader's thread when all are loaded or have failed.

    Raises:
        ConfigError: The backend isn't installed.
    """

    def __init__(
        self, settings: Settings, registry: Registry, repository: Repository, on_done: Callable[[], None]
    ) -> None:
        self._registry = registry
        self._on_done = on_done
        self._loading = VersionLoading(settings)
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="predictd-loader", daemon=True)
        self._queue: list[tuple[ModelFile, ModelSettings]] = []
        registry.is_starting = True
        for name, found in repository.look().items():
            for version in wanted(found):
                self._queue.append((found.versions[version], found.settings))
                registry.put(unloaded(found.versions[version], LOADING))
            if registry.versions(name):
                registry.set_labels(name, found.settings.labels)
                registry.set_default(name, found.settings.default_version)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Load no further model; the one being loaded is not waited for."""
        self._is_stopping = True

    def runtime(self) -> Mapping[str, Any]:
        """Return the model runtime's effective settings; empty until it has started."""
        return self._loading.runtime()

    def _run(self) -> None:
        for file, settings in self._queue:
            if self._is_stopping:
                return
            self._registry.put(self._load(file, settings))
        self._registry.is_starting = False
        if not self._is_stopping:
            self._on_done()

    def _load(self, file: ModelFile, settings: ModelSettings) -> ServedModel:
        try:
            return self._loading.load(file, settings)
        except PredictdError as error:
            reason = error.message
        except Exception as error:  # a model file may raise anything while it loads
            _log.debug("loading %s failed", file.path, exc_info=True)
            reason = f"{file.path}: {type(error).__name__}: {error}"
        _log.error("model %s: %s", file.name, reason)
        return unloaded(file, FAILED, reason)
