"""A worker of any pool that runs the matrix's tasks, as the driver asks it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import psutil

from tests.celery.worker_process import WorkerProcess
from tests.pools.program import ANSWER_TIMEOUT_S, Answers

TASKS = "tests.pools.celery_tasks"
#: Tasks at once: processes, threads, greenlets.
CONCURRENCY = {"prefork": 4, "solo": 1, "threads": 64, "gevent": 1000, "eventlet": 1000}


class Worker(WorkerProcess):
    """A worker process; ends as that does."""

    def send_rows(self, rows: Iterable[int]) -> Callable[[], Answers]:
        """Enqueue a task for every row; return what waits for the answers."""
        pending = [self.send(f"{TASKS}.scores", row) for row in rows]
        return lambda: [self.answer(result, ANSWER_TIMEOUT_S) for result in pending]


class AskedWorker:
    """A worker in the driver's terms."""

    def __init__(self, worker: Worker) -> None:
        self.send = worker.send_rows
        self._worker = worker

    def family(self) -> list[psutil.Process]:
        """Return the worker and its children."""
        leader = psutil.Process(self._worker.process.pid)
        return [leader, *leader.children(recursive=True)]
