"""Loopback ports for servers that a test starts: free a moment ago, and no other test's.

They are below the range from which the system takes ports for connections (32768 on, on Linux), and each process goes
through a stretch of its own: several runs of the same tests side by side don't meet.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
from collections.abc import Iterator

_FIRST, _END = 20_000, 32_000
#: Ports of one process before it comes to those of the next one.
_STRETCH = 200


def _ports() -> Iterator[int]:
    begin = os.getpid() * _STRETCH
    return (_FIRST + (begin + step) % (_END - _FIRST) for step in itertools.count())


_next_port = _ports()


def _free_ports(count: int) -> int:
    """Return the first of so many ports in a row that nobody listens on now."""
    for _ in range(_END - _FIRST):
        first = next(_next_port)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                probe = stack.enter_context(socket.socket())
                probe.bind(("127.0.0.1", port))
            for _ in range(count - 1):
                next(_next_port)
            return first
    text = f"no {count} free ports in a row from {_FIRST} to {_END}"
    raise AssertionError(text)


def free_port() -> int:
    """Return a port that nobody listens on now."""
    return _free_ports(1)


def free_tcp_endpoint() -> str:
    """Return an endpoint whose port, and the next one for control, nobody has."""
    return f"tcp://127.0.0.1:{_free_ports(2)}"
