"""A real Redis server in a subprocess, on a loopback port that was free a moment ago."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator

import pytest

from scripts.redis_server import find_redis_server
from tests.ports import free_port

START_TIMEOUT_S = 240.0


@contextlib.contextmanager
def running_redis(port: int | None = None) -> Iterator[str]:
    """Run a Redis server for as long as the block lasts; gives its URL."""
    try:
        server = find_redis_server()
    except FileNotFoundError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    port = port or free_port()
    with tempfile.TemporaryDirectory() as directory:
        command = [str(server), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", directory]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait_for(port, process)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait(60)


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
