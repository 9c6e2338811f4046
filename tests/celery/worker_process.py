"""A real `celery worker -P prefork` in a subprocess, as tests start, ask, signal and end it.

Owns the worker's process, its log and an app that enqueues for it.
"""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from celery import Celery

from predictd_celery.config import QUEUE, result_url
from predictd_celery.tasks import PREDICT
from tests.daemon_process import clean_environment
from tests.logged_process import START_TIMEOUT_S, LoggedProcess, search_path

STOP_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 90.0
READY_APP = "predictd_celery"


class WorkerProcess(LoggedProcess):
    """One prefork worker.

    Args:
        directory: Where its log is and where it runs: outside the checkout.
        broker_url: A broker of its own.
        endpoint: The daemon that its tasks ask.
        app: `celery -A`.
        options: More options for `celery worker`.
        children: How many children.
        prefix: Words before the command, such as those that run it on another host.
        environment: More of the environment.
    """

    def __init__(
        self,
        directory: Path,
        broker_url: str,
        endpoint: str,
        *options: str,
        app: str = READY_APP,
        children: int = 2,
        prefix: Sequence[str] = (),
        **environment: str,
    ) -> None:
        self.log_path = directory / f"worker-{time.monotonic_ns()}.log"
        command = [sys.executable, "-m", "celery", "-A", app, "worker", "--concurrency", str(children)]
        quiet = ["--loglevel", "info", "--without-mingle", "--without-gossip"]
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [*prefix, *command, *quiet, *options],
                cwd=directory,
                env=clean_environment(
                    PYTHONPATH=search_path(),
                    PREDICTD_BROKER_URL=broker_url,
                    PREDICTD_ENDPOINT=endpoint,
                    **environment,
                ),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        self.app = Celery("tests", broker=broker_url, backend=result_url(broker_url), set_as_current=False)
        if app == READY_APP:
            self.app.conf.task_default_queue = QUEUE

    def wait_for_log(self, text: str, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until its log holds a text."""
        self.wait_until(lambda: text in self.log, f"its log holds {text!r}", timeout_s)

    def send(self, task: str, *args: Any, **options: Any) -> Any:
        """Enqueue a task by name; return its result."""
        return self.app.send_task(task, args, **options)

    def predict(self, model: str, inputs: Any, **options: Any) -> Any:
        """Enqueue `predictd.predict` as a user does; return its result."""
        settings = {name: options.pop(name) for name in list(options) if name in PREDICT_ARGUMENTS}
        return self.app.tasks[PREDICT].apply_async((model, inputs), settings, **options)

    def answer(self, result: Any, timeout_s: float = ANSWER_TIMEOUT_S) -> Any:
        """Return a task's answer, or raise its error; the worker's log goes with a time-out."""
        self.wait_until(result.ready, f"task {result.id} is done", timeout_s)
        return result.get()

    def children(self) -> list[psutil.Process]:
        """Return its pool's processes."""
        return psutil.Process(self.process.pid).children()

    def signal(self, number: int) -> None:
        """Send its parent a signal."""
        self.process.send_signal(number)

    def stop(self) -> int:
        """Shut it down as `celery` does (warm); return the exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_TIMEOUT_S)
        finally:
            self.kill()

    def kill(self) -> None:
        """End what is left of it, children too; close what the tests' own app holds open."""
        if self.process.poll() is None:
            family = [*self.children(), psutil.Process(self.process.pid)]
            for member in family:
                member.kill()
            self.process.wait()
        # Results that a group left pending, or in the circles of tracebacks: they unsubscribe at their end, from Redis.
        backend = self.app.backend
        backend._pending_results.concrete.clear()
        gc.collect()
        # What is held for longer, by the traceback of a test that failed, would connect again to do so.
        if getattr(backend.result_consumer, "_pubsub", None) is not None:
            backend.result_consumer.stop()
            backend.result_consumer._pubsub = None
        self.app.close()


PREDICT_ARGUMENTS = frozenset(("version", "signature", "timeout_ms", "cast", "result", "receipt"))
