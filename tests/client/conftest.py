"""A short endpoint, a fake server behind it and a client in front of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import predictd
from predictd.cli.commands import main
from tests.client.fake_server import FakeServer
from tests.daemon_process import short_directory

ROWS = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture
def folder() -> Iterator[str]:
    """A directory with a path short enough for sockets."""
    with short_directory() as path:
        yield path


@pytest.fixture
def endpoint(folder: str) -> str:
    return f"ipc://{folder}/d.sock"


@pytest.fixture
def server(endpoint: str) -> Iterator[FakeServer]:
    with FakeServer(endpoint) as running:
        yield running


@pytest.fixture
def client(endpoint: str) -> Iterator[predictd.Client]:
    with predictd.Client(endpoint, timeout_ms=20_000, retries=None) as made:
        yield made


@pytest.fixture
def run(endpoint: str) -> Callable[..., Result]:
    """Runs the command `predictd` within this process."""
    # Before click 8.2 both streams were one, unless asked otherwise.
    is_old = "mix_stderr" in inspect.signature(CliRunner.__init__).parameters
    apart: dict[str, Any] = {"mix_stderr": False} if is_old else {}
    runner = CliRunner(env={"PREDICTD_ENDPOINT": endpoint, "COLUMNS": "80"}, **apart)

    def invoke(*arguments: str, stdin: bytes | str | None = None) -> Result:
        return runner.invoke(main, arguments, input=stdin)

    return invoke


@pytest.fixture
def one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the first attempt to connect take all its time: a slow handshake is no reason for a second connection."""
    monkeypatch.setattr("predictd.connections.connecting.FIRST_WINDOW_MS", 60_000.0)


@pytest.fixture
def rows() -> np.ndarray:
    return ROWS.copy()
