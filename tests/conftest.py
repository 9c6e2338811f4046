"""Fixtures that every test may use: model files, daemons, short directories. Nothing here imports TensorFlow."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

# A busy machine makes any example slow; where CI is set, what hypothesis does for it stays.
settings.register_profile("unhurried", settings(), deadline=None)
settings.load_profile("unhurried")

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the small models of `tests/make_models.py`."""
    directory = tmp_path_factory.mktemp("models")
    subprocess.run([sys.executable, "-m", "tests.make_models", directory], cwd=CHECKOUT, check=True, timeout=120)
    return directory


@pytest.fixture(scope="session")
def digits(models: Path) -> tuple[np.ndarray, np.ndarray]:
    """200 rows for the model `mlp`, and what Keras' own `predict` answers for them."""
    with np.load(models / "mlp.npz") as saved:
        return saved["x"], saved["y"]


@pytest.fixture
def run_directory() -> Iterator[Path]:
    """A private directory with a path short enough for a socket."""
    from tests.daemon_process import short_directory

    with short_directory() as name:
        yield Path(name)


@pytest.fixture
def start_daemon(run_directory: Path) -> Iterator[Callable]:
    """Start a daemon of the test's own: `start_daemon(path, "--flag", ...)`; it ends with the test."""
    from tests.daemon_process import DaemonProcess

    started: list[DaemonProcess] = []

    def start(*arguments: object, wait: bool = True, **options: str) -> DaemonProcess:
        daemon = DaemonProcess(run_directory, *map(str, arguments), **options)
        started.append(daemon)
        return daemon.start(wait=wait)

    yield start
    for daemon in started:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.kill()


@pytest.fixture(scope="session")
def daemon(models: Path) -> Iterator:
    """One daemon that serves every small model, for tests that leave it as it is."""
    from tests.daemon_process import DaemonProcess, short_directory

    with short_directory() as name:
        process = DaemonProcess(Path(name), str(models)).start()
        yield process
        assert process.stop() == 0, process.log


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A real Redis on a free loopback port, for the whole session; skipped without one, failed without one in CI."""
    from tests.redis_process import running_redis

    with running_redis() as url:
        yield url
