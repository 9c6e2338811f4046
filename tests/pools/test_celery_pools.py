"""Every pool of a Celery worker, with a user's own app: the client is made at import and used in the parent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.celery.worker_process import WorkerProcess
from tests.daemon_process import DaemonProcess
from tests.pools.driver import required
from tests.pools.program import ANSWER_TIMEOUT_S, Answers

pytestmark = [pytest.mark.integration, pytest.mark.redis, pytest.mark.slow, pytest.mark.tensorflow]

TASKS = "tests.pools.celery_tasks"
#: Tasks at once: processes, threads, greenlets.
CONCURRENCY = {"prefork": 4, "solo": 1, "threads": 64, "gevent": 1000, "eventlet": 1000}


class Worker(WorkerProcess):
    """A worker that the driver can ask."""

    def send_rows(self, rows: Iterable[int]) -> Callable[[], Answers]:
        """Enqueue a task for every row; return what waits for the answers."""
        pending = [self.send(f"{TASKS}.scores", row) for row in rows]
        return lambda: [self.answer(result, ANSWER_TIMEOUT_S) for result in pending]


class Asked:
    """A worker in the driver's terms."""

    def __init__(self, worker: Worker) -> None:
        self.send = worker.send_rows
        self._worker = worker

    def family(self) -> list[psutil.Process]:
        """Return the worker and its children."""
        leader = psutil.Process(self._worker.process.pid)
        return [leader, *leader.children(recursive=True)]


@pytest.fixture
def start_worker(
    redis_url: str, mortal_daemon: DaemonProcess, run_directory: Path, row_environment: dict[str, str]
) -> Iterator[Callable[..., Worker]]:
    """Start a worker of the test's own; it ends with the test."""
    started: list[Worker] = []

    def start(pool: str, *options: str) -> Worker:
        worker = Worker(
            run_directory,
            redis_url,
            mortal_daemon.endpoint,
            f"--pool={pool}",
            *options,
            app=TASKS,
            children=CONCURRENCY[pool],
            **{name: value for name, value in row_environment.items() if name != "PREDICTD_ENDPOINT"},
        )
        started.append(worker)
        worker.wait_for_log(" ready.")
        return worker

    yield start
    for worker in started:
        worker.kill()


@pytest.mark.parametrize("pool", list(CONCURRENCY))
def test_pool(pool: str, start_worker: Callable[..., Worker], passes: Callable[..., None]) -> None:
    if pool in {"gevent", "eventlet"}:
        required(pool)
    passes(Asked(start_worker(pool)))
