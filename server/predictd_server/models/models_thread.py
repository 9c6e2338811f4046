"""The models thread: the start's loads, then orders and looks, one after the other, for as long as the daemon lives.

Owns the thread, and when it turns to what. What each order and look means is `upkeep.py`'s; the loads themselves run on
the loader thread, and while one does, this one carries out what need not wait for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from time import monotonic, sleep
from typing import Any

from predictd_proto.errors import ServerDrainingError
from predictd_server.models.departures import Departures
from predictd_server.models.files import ModelFile
from predictd_server.models.loader_thread import LoaderThread
from predictd_server.models.orders import OrderDesk
from predictd_server.models.reclaim import reclaim_memory
from predictd_server.models.registry import Registry, ServedModel
from predictd_server.models.repository import Repository
from predictd_server.models.settings import ModelSettings
from predictd_server.models.stock import Stock
from predictd_server.models.upkeep import Upkeep
from predictd_server.models.version_loading import VersionLoading
from predictd_server.models.watch import Watch
from predictd_server.settings import Settings

_log = logging.getLogger("predictd")

#: After a fault of ours, so that one that stays doesn't keep a processor busy.
FAULT_PAUSE_S = 1.0


class ModelsThread:
    """The thread that changes what is served.

    Args:
        settings: The server's.
        registry: Where models are published.
        repository: What there is.
        seen_generation: The core's; see `Departures`.
        on_started: Called on this thread when everything that was there at the start has been loaded or has failed.

    Attributes:
        desk: Where clients' orders are taken in.

    Raises:
        ConfigError: The backend isn't installed.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        repository: Repository,
        *,
        seen_generation: Callable[[], int],
        on_started: Callable[[], None],
    ) -> None:
        self.desk = OrderDesk()
        self._registry = registry
        self._on_started = on_started
        self._is_loading = False
        departures = Departures(seen_generation, reclaim_memory, lambda: self._is_loading)
        self._loading = VersionLoading(settings, lambda: departures.steps)
        self._loader_thread = LoaderThread(self._loading.load, on_done=self.desk.wake)
        self._is_stopping = False
        self._upkeep = Upkeep(
            registry=registry,
            repository=repository,
            watch=Watch(repository, interval_s=settings.watch_s, settle_s=settings.settle_s),
            stock=Stock(registry, self._load, departures, reclaim_memory),
            departures=departures,
            desk=self.desk,
        )
        registry.is_starting = True
        # Before the sockets are open: whoever asks for a model is told that it is loading, not that there is none.
        self._first = self._upkeep.begin(monotonic())
        self._thread = threading.Thread(target=self._run, name="predictd-models", daemon=True)

    def start(self) -> None:
        """Start the threads."""
        self._loader_thread.start()
        self._thread.start()

    def stop(self) -> None:
        """Load no further version and answer all orders; the load that goes on is not waited for."""
        self._is_stopping = True
        self.desk.close()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread's end."""
        self._thread.join(timeout_s)

    @property
    def is_alive(self) -> bool:
        """Whether the thread lives; after `stop` it does as long as a load goes on."""
        return self._thread.is_alive()

    def runtime(self) -> Mapping[str, Any]:
        """Return the model runtime's effective settings; empty until it has started."""
        return self._loading.runtime()

    def _run(self) -> None:
        self._start_up()
        while not self._is_stopping:
            order = self.desk.next(self._tend())
            if order is not None:
                self._upkeep.carry_out(order, monotonic())

    def _start_up(self) -> None:
        for file in self._first:
            if self._is_stopping:
                return
            try:
                self._upkeep.bring(file)
            except ServerDrainingError:
                continue
            except Exception:  # a bug of ours must not end the thread
                _log.exception("internal error while loading %s", file.path)
        self._first = []
        self._registry.is_starting = False
        if not self._is_stopping:
            self._on_started()

    def _load(self, file: ModelFile, settings: ModelSettings) -> ServedModel:
        if self._is_stopping:
            text = f"{file.path}: is not loaded any more: the server is shutting down"
            raise ServerDrainingError(text)
        self._is_loading = True
        try:
            loaded = self._loader_thread.begin(file, settings)
            while not loaded.done() and not self._is_stopping:
                self._attend()
            return loaded.result()
        finally:
            self._is_loading = False

    def _attend(self) -> None:
        try:
            self._upkeep.attend(None, monotonic())
        except Exception:  # a bug of ours must not break off the load
            _log.exception("internal error while a version is loaded")
            sleep(FAULT_PAUSE_S)

    def _tend(self) -> float | None:
        try:
            return self._upkeep.tend(monotonic())
        except ServerDrainingError:
            return 0.0
        except Exception:  # a bug of ours must not end the thread
            _log.exception("internal error while looking after the models")
            return FAULT_PAUSE_S
