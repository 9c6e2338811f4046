"""The daemon: builds the parts, starts them in order, waits, and stops them in order.

The composition root; the only place that knows all parts. Main thread: signals, watchdog, shutdown.

Start: lock the endpoint, bind both sockets (an early client is told "starting" instead of nothing), start control,
pump and engine, then load models. Stop: refuse new work, finish what was admitted, answer the rest with a retryable
error, end the pump, then control (so that `status` says "draining" until the end), then give the endpoint back. A load
that goes on then, and the start of TensorFlow, nobody can break off: the process ends without it.
"""

from __future__ import annotations

import logging
import os
import secrets
from importlib.metadata import version
from time import monotonic

from predictd_proto.endpoints import Endpoint, default_endpoint
from predictd_proto.errors import ConfigError
from predictd_server.engine import Engine
from predictd_server.models.models_thread import ModelsThread
from predictd_server.models.registry import Registry
from predictd_server.models.repository import Repository
from predictd_server.serving.admission import Admission
from predictd_server.serving.caller_class import CallerClasses
from predictd_server.serving.core import Core
from predictd_server.serving.counters import Counters
from predictd_server.serving.greeting import Greeting
from predictd_server.serving.lanes import Lanes
from predictd_server.serving.request_reader import RequestReader
from predictd_server.settings import Settings
from predictd_server.sockets.control import Control
from predictd_server.sockets.endpoint_lock import EndpointLock
from predictd_server.sockets.frontend import Frontend
from predictd_server.sockets.routers import new_context
from predictd_server.sockets.segments import SegmentQuotas, Segments
from predictd_server.status_report import StatusReport
from predictd_server.stop_signals import StopSignals
from predictd_server.watchdog import Watchdog

_log = logging.getLogger("predictd")

TICK_S = 0.5
JOIN_S = 5.0

#: The models thread ends at once unless a load goes on, for which nobody waits.
MODELS_JOIN_S = 0.2

#: Nothing could be served. (EX_DATAERR of sysexits.h.)
NO_MODEL_EXIT_CODE = 65

_LOOPBACK = ("127.", "localhost:", "[::1]:")


class Daemon:
    """One server process.

    Args:
        settings: All settings.
        repository: The models to serve.
        stop: Tells when to stop.

    Raises:
        ConfigError: The endpoint is open to other machines.
    """

    def __init__(self, settings: Settings, repository: Repository, stop: StopSignals) -> None:
        self._settings = settings
        self._endpoint = Endpoint.parse(settings.endpoint) if settings.endpoint else default_endpoint()
        check_loopback(self._endpoint)
        self._started_s = monotonic()
        self._stop = stop
        self._lock = EndpointLock(self._endpoint)
        self._context = new_context()
        counters = Counters()
        registry = Registry()
        limits = settings.limits
        segments = Segments(
            SegmentQuotas(
                max_segments=settings.max_segments,
                max_bytes=settings.max_segment_bytes if self._endpoint.path is not None else 0,
                max_client_segments=settings.max_client_segments,
                max_client_bytes=settings.max_client_segment_bytes,
            ),
            counters,
        )
        self._greeting = Greeting(secrets.token_hex(8), version("predictd"), limits, registry)
        classes = CallerClasses(settings.classes, counters)
        admission = Admission(max_rows=settings.max_queue_rows, max_bytes=settings.max_queue_bytes, classes=classes)
        self._core = Core(
            registry=registry,
            greeting=self._greeting,
            counters=counters,
            limits=limits,
            admission=admission,
            lanes=Lanes(
                admission=admission,
                counters=counters,
                window_s=settings.batch_timeout_ms / 1000,
                max_batch_bytes=settings.max_batch_bytes,
                fair_run_s=settings.fair_run_ms / 1000,
                priority_wait_s=settings.priority_wait_ms / 1000,
            ),
            reader=RequestReader(registry, settings.max_timeout_ms / 1000, classes),
            keep_s=settings.task_keep_ms / 1000,
        )
        self._core.memory = segments
        self._frontend = Frontend(
            self._context,
            endpoint=self._endpoint.data,
            limits=limits,
            counters=counters,
            inline_s=settings.inline_ms / 1000,
            segments=segments,
        )
        self._control = Control(self._context, endpoint=self._endpoint.control)
        self._engine = Engine(counters, wake=self._frontend.wake)
        self._models = ModelsThread(
            settings,
            registry,
            repository,
            seen_generation=lambda: self._core.seen_generation,
            on_started=self._started,
        )
        self._exit_code = 0
        self._report = StatusReport(
            settings=settings,
            endpoint=self._endpoint.data,
            greeting=self._greeting,
            core=self._core,
            engine=self._engine,
            frontend=self._frontend,
            runtime=self._models.runtime,
            started_s=self._started_s,
        )

    def run(self) -> int:
        """Serve until a signal; return the process's exit code.

        Raises:
            ConfigError: The endpoint can't be had.
        """
        self._lock.acquire()
        try:
            self._stop.before_exit = self._lock.release
            self._bind()
            self._control.start(self._report, self._models.desk)
            self._engine.start()
            self._frontend.start(self._core, self._engine)
            self._models.start()
            self._watch()
            self._shut_down()
        finally:
            self._lock.release()
        return self._exit_code

    @property
    def is_at_work(self) -> bool:
        """Whether a load or a run goes on though the daemon has stopped: libraries may crash if they are torn down."""
        return self._models.is_alive or self._engine.is_busy or self._frontend.is_alive

    def _bind(self) -> None:
        self._frontend.bind()
        self._control.bind()
        _log.info("listening on %s (pid %d), loading models", self._endpoint, os.getpid())

    def _watch(self) -> None:
        watchdog = Watchdog(
            frontend=self._frontend,
            engine=self._engine,
            control=self._control,
            stuck_after_s=self._settings.stuck_after_s,
        )
        while not self._stop.wait(TICK_S):
            watchdog.look()
        watchdog.disarm()
        if self._stop.received is not None:
            _log.info("%s: draining; send it again to stop at once", self._stop.received.name)

    def _started(self) -> None:
        """Called on the models thread when what was there at the start has been loaded or has failed."""
        names = [model.name for model in self._greeting.registry.metadata() if model.is_ready]
        if names:
            _log.info("ready after %.1f s: %s", monotonic() - self._started_s, ", ".join(dict.fromkeys(names)))
        elif self._settings.watch_s:
            _log.warning("no model could be loaded; waiting for one: looking every %g s", self._settings.watch_s)
        else:
            _log.error("no model could be loaded; nothing to serve")
            self._exit_code = NO_MODEL_EXIT_CODE
            self._stop.stop()

    def _shut_down(self) -> None:
        self._report.is_draining = True
        self._models.stop()
        self._frontend.drain(monotonic() + self._settings.drain_timeout_s)
        if not self._frontend.join(self._settings.drain_timeout_s + JOIN_S):
            _log.error("the current run did not end within the drain's time; leaving it")
        self._engine.stop()
        self._control.stop(JOIN_S)
        self._models.join(MODELS_JOIN_S)
        if not self._frontend.is_alive and not self._control.is_alive:
            self._context.term()
        _log.info("stopped: %d requests answered", self._core.counters.requests_ok_total)


def check_loopback(endpoint: Endpoint) -> None:
    """Refuse an endpoint that other machines can reach: requests carry no proof of who sends them.

    Raises:
        ConfigError: It is tcp on something else than the loopback interface.
    """
    host = endpoint.data.removeprefix("tcp://")
    if endpoint.path is None and not host.startswith(_LOOPBACK):
        text = (
            f"endpoint {endpoint}: other machines could reach it, and anyone there could use the models; expected "
            "tcp://127.0.0.1:PORT or an ipc:// path. On several machines run one predictd on each"
        )
        raise ConfigError(text)
