"""Loopback ports for servers that a test starts: free a moment ago."""

from __future__ import annotations

import contextlib
import socket


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def free_tcp_endpoint() -> str:
    """Return an endpoint whose port, and the next one for control, nobody has."""
    for _ in range(100):
        with socket.socket() as data, socket.socket() as control:
            data.bind(("127.0.0.1", 0))
            port = data.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                control.bind(("127.0.0.1", port + 1))
                return f"tcp://127.0.0.1:{port}"
    text = "no two free ports in a row"
    raise AssertionError(text)
