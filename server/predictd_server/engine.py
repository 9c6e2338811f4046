"""The engine: runs batches on the pump's thread, or on one of its own where they are too long for that.

Owns one thread that takes one batch at a time and hands its runs back. It never touches a socket: `wake` tells the
pump. While that thread runs a long batch, the pump may run short ones of other models beside it: TensorFlow, JAX and
PyTorch compute without the interpreter's lock, and a session's runs may overlap. PyTorch's eager runner takes the lock
between one operation and the next: there each of two runs waits for the other's Python code.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from math import inf
from queue import SimpleQueue
from time import monotonic

from predictd_server.serving.assembly import Workspace
from predictd_server.serving.batch import Batch, Run
from predictd_server.serving.calling_task import named_tasks
from predictd_server.serving.counters import Counters
from predictd_server.serving.execution import execute
from predictd_server.serving.refusals import fault

_log = logging.getLogger(__name__)

#: A run is given this long, or this many times what such runs take, before the engine counts as unresponsive.
PATIENCE_S = 5.0
PATIENCE_RUNS = 10


class Engine:
    """Runs one batch at a time, on the caller's thread or on its own.

    Args:
        counters: Where runs are counted.
        wake: Called on the engine thread when a submitted batch is done.

    Attributes:
        busy_since_s: When the current run began (monotonic), None while idle. Read by the watchdog and by `status`.
        last_run_s: When the last run ended (monotonic); None before the first.
        patience_s: How long the current run may take before it looks stuck.
    """

    def __init__(self, counters: Counters, wake: Callable[[], None]) -> None:
        self._counters = counters
        self._wake = wake
        self._workspace = Workspace()
        self._beside_workspace = Workspace()
        self._work: SimpleQueue[Batch | None] = SimpleQueue()
        self._done: SimpleQueue[tuple[Batch, list[Run]]] = SimpleQueue()
        self._thread = threading.Thread(target=self._loop, name="predictd-engine", daemon=True)
        self.busy_since_s: float | None = None
        self.last_run_s: float | None = None
        self.patience_s = PATIENCE_S

    @property
    def is_busy(self) -> bool:
        """Whether a batch is running or its runs have not been collected."""
        return self.busy_since_s is not None

    @property
    def is_alive(self) -> bool:
        """Whether the engine's thread lives."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Let the thread end after the batch it runs."""
        self._work.put(None)

    def run(self, batch: Batch) -> list[Run]:
        """Run a batch on the calling thread. Only while the engine is idle."""
        self._counters.runs_inline_total += 1
        self._begin(batch)
        try:
            return self._execute(batch, self._workspace, self._begin_run)
        finally:
            self._rest()

    def run_beside(self, batch: Batch) -> list[Run]:
        """Run a batch on the pump's thread while another runs on the engine's.

        The watchdog goes on looking at that one; for this one it looks at the pump, which doesn't turn meanwhile.
        """
        self._counters.runs_beside_total += 1
        try:
            return self._execute(batch, self._beside_workspace)
        finally:
            self.last_run_s = monotonic()

    def submit(self, batch: Batch) -> None:
        """Run a batch on the engine's thread. Only while the engine is idle."""
        self._counters.runs_threaded_total += 1
        self._begin(batch)
        self._work.put(batch)

    def collect(self) -> tuple[Batch, list[Run]] | None:
        """Return a submitted batch that is done, with its runs; None when there is none. The engine is idle then."""
        if self._done.empty():
            return None
        done = self._done.get()
        self._rest()
        return done

    def _begin(self, batch: Batch) -> None:
        patience_s = PATIENCE_RUNS * batch.expected_s
        self.patience_s = patience_s if PATIENCE_S < patience_s < inf else PATIENCE_S
        self.busy_since_s = monotonic()

    def _begin_run(self) -> None:
        # Each run of a search has the whole of its time: the watchdog looks for one that never ends.
        self.busy_since_s = monotonic()

    def _rest(self) -> None:
        self.busy_since_s = None
        self.last_run_s = monotonic()

    def _loop(self) -> None:
        while (batch := self._work.get()) is not None:
            self._done.put((batch, self._execute(batch, self._workspace, self._begin_run)))
            # Its rows and its model would stay in memory until the next one comes.
            batch = None
            self._wake()

    def _execute(self, batch: Batch, workspace: Workspace, begin: Callable[[], None] = lambda: None) -> list[Run]:
        try:
            return execute(batch, workspace, begin)
        except Exception:  # a bug of ours must not end the thread: its callers get an answer, the log the details
            whose = named_tasks(part.request for part in batch.parts)
            _log.exception("internal error while running %s%s", batch.signature, whose)
            return [Run(batch.parts, batch.rows, batch.size, None, fault("running the batch"))]
