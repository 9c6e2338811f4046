"""Fixtures of the Celery tests: real prefork workers, each with a Redis database of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.celery.worker_process import WorkerProcess
from tests.daemon_process import DaemonProcess, short_directory

#: Redis has 16; the first is left to tests that name none.
DATABASES = range(1, 16)


@pytest.fixture(scope="session")
def new_broker_url(redis_url: str) -> Callable[[], str]:
    """Returns the URL of a database that no other worker uses at the same time."""
    numbers = itertools.cycle(DATABASES)
    return lambda: f"{redis_url.rpartition('/')[0]}/{next(numbers)}"


@pytest.fixture
def start_worker(new_broker_url: Callable[[], str], run_directory: Path) -> Iterator[Callable[..., WorkerProcess]]:
    """Start a worker of the test's own: `start_worker(daemon, "--max-tasks-per-child=1")`; it ends with the test."""
    started: list[WorkerProcess] = []

    def start(daemon: DaemonProcess | str, *options: str, **settings: object) -> WorkerProcess:
        endpoint = daemon if isinstance(daemon, str) else daemon.endpoint
        worker = WorkerProcess(run_directory, new_broker_url(), endpoint, *options, **settings)  # type: ignore[arg-type]
        started.append(worker)
        worker.wait_for_log(" ready.")
        return worker

    yield start
    for worker in started:
        worker.kill()


@pytest.fixture(scope="module")
def worker(daemon: DaemonProcess, new_broker_url: Callable[[], str]) -> Iterator[WorkerProcess]:
    """The ready app's worker with four children, for tests that leave it as it is."""
    yield from _running(daemon, new_broker_url(), app="predictd_celery")


@pytest.fixture(scope="module")
def user_worker(daemon: DaemonProcess, new_broker_url: Callable[[], str]) -> Iterator[WorkerProcess]:
    """A user's own app with four children; its client was used in the parent, before the fork."""
    yield from _running(daemon, new_broker_url(), app="tests.celery.user_tasks", USE_IN_PARENT="1")


def _running(daemon: DaemonProcess, broker_url: str, *, app: str, **environment: str) -> Iterator[WorkerProcess]:
    with short_directory() as name:
        process = WorkerProcess(Path(name), broker_url, daemon.endpoint, app=app, children=4, **environment)
        try:
            process.wait_for_log(" ready.")
            yield process
            assert process.stop() == 0, process.log
        finally:
            process.kill()
