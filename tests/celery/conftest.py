"""Fixtures of the Celery tests: real prefork workers, each with a Redis database of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from predictd_celery.claims import claim_check as claim_check_module
from tests.celery.kept_claims import Clock
from tests.celery.worker_process import WorkerProcess
from tests.daemon_process import DaemonProcess, short_directory
from tests.redis_process import DATABASES

#: Redis' usual ones are left to tests that name theirs, or none.
FIRST_DATABASE = 16


@pytest.fixture(scope="session")
def new_broker_url(redis_url: str) -> Callable[[], str]:
    """Returns the URL of a database that no other worker uses, or has used."""
    numbers = iter(range(FIRST_DATABASE, DATABASES))
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
    with running_worker(daemon.endpoint, new_broker_url(), app="predictd_celery", children=4) as process:
        yield process


@pytest.fixture(scope="module")
def user_worker(daemon: DaemonProcess, new_broker_url: Callable[[], str]) -> Iterator[WorkerProcess]:
    """A user's own app with four children; its client was used in the parent, before the fork."""
    app = "tests.celery.user_tasks"
    with running_worker(daemon.endpoint, new_broker_url(), app=app, children=4, USE_IN_PARENT="1") as process:
        yield process


@contextmanager
def running_worker(
    endpoint: str, broker_url: str, *options: str, app: str, children: int = 2, **environment: str
) -> Iterator[WorkerProcess]:
    """Run a worker in a directory of its own, and see it end well."""
    with short_directory() as name:
        process = WorkerProcess(Path(name), broker_url, endpoint, *options, app=app, children=children, **environment)
        try:
            process.wait_for_log(" ready.")
            yield process
            assert process.stop() == 0, process.log
        finally:
            process.kill()


@pytest.fixture
def fresh_claim_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process' own claim check as at the start of a process."""
    monkeypatch.setattr(claim_check_module, "_apps", type(claim_check_module._apps)())
    monkeypatch.setattr(claim_check_module, "_current", None)
    for name in ("STORE", "CHECK_BYTES", "EXPIRES_S"):
        monkeypatch.delenv(f"PREDICTD_CLAIM_{name}", raising=False)


@pytest.fixture
def claiming(fresh_claim_check: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Arrays of 1000 bytes and more are claims."""
    monkeypatch.setenv("PREDICTD_CLAIM_STORE", f"file://{tmp_path}/claims")
    monkeypatch.setenv("PREDICTD_CLAIM_CHECK_BYTES", "1000")


@pytest.fixture
def clock() -> Clock:
    """What claims are dated by; it stands until a test moves it."""
    return Clock()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where a claim store of files would be; nobody has made it yet."""
    return tmp_path / "claims"
