"""A real Redis server in a subprocess: for all tests on a loopback port, or one of a test, to kill and start again."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from scripts.redis_server import find_redis_server, keeping_arguments
from tests.logged_process import LoggedProcess
from tests.ports import free_port

START_TIMEOUT_S = 240.0
#: So many that no worker gets one in which another has left tasks.
DATABASES = 1000


@contextlib.contextmanager
def running_redis(port: int | None = None) -> Iterator[str]:
    """Run a Redis server for as long as the block lasts; gives its URL."""
    server = _server()
    port = port or free_port()
    with tempfile.TemporaryDirectory() as directory:
        where = ["--port", str(port), "--bind", "127.0.0.1", "--dir", directory]
        command = [str(server), *where, "--save", "", "--databases", str(DATABASES)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait_for(port, process)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait(60)


class KeptRedis(LoggedProcess):
    """A Redis that keeps its data in a folder (AOF), to be killed and started again.

    Args:
        folder: Where its data and its log are.
        address: Where it listens.
        port: Likewise; None for a free one.
        prefix: Words before the command, such as those that run it on another host.
    """

    def __init__(
        self, folder: Path, address: str = "127.0.0.1", port: int | None = None, prefix: Sequence[str] = ()
    ) -> None:
        port = port or free_port()
        self.url = f"redis://{address}:{port}/0"
        self.log_path = folder / "redis.log"
        listening = ["--bind", address, "--port", str(port), "--protected-mode", "no"]
        self._command = [*prefix, str(_server()), *listening, *keeping_arguments(folder)]
        self._starts = 0
        self.start()

    def start(self) -> None:
        """Start it, and wait until it has read what it kept."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self._starts += 1
        self.wait_until(lambda: self.log.count("Ready to accept connections") == self._starts, "Redis is up")

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()


def _server() -> Path:
    try:
        return find_redis_server()
    except FileNotFoundError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(b"PING\r\n")
            if connection.recv(16).startswith(b"+PONG"):
                return
        time.sleep(0.02)
    text = f"redis-server did not answer on port {port}"
    raise RuntimeError(text)
