"""Turns: callers that wait for a connection, because the process has as many as it should have.

Owns the queue and the bound. It opens nothing. A connection goes from the caller that has its answer straight to the
first one in the queue. Any thread or greenlet; a deque's append and pop are atomic, and each caller waits on a lock of
its own, made at that moment: by the event loop that has patched the process by then, and left behind by no fork.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

try:
    import resource
except ImportError:  # Windows
    _HAS_LIMITS = False
else:
    _HAS_LIMITS = True

if TYPE_CHECKING:
    from predictd.connections.transport import Connection
    from predictd.deadline import Deadline

#: Connections of a process, whatever its limit on file descriptors.
MOST_CONNECTIONS = 256

#: Of that limit a connection may use this share, and it takes two descriptors: the rest is the program's own.
_SHARE = 8

#: Longest wait between two looks: a turn that is lost with a caller who gave up costs no more than this.
_SLICE_S = 0.1


class Turns:
    """The queue of one pool."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: deque[_Turn] = deque()

    def give(self, connection: Connection | None) -> bool:
        """Hand the first caller a connection, or with None the right to make one; return whether anybody waited."""
        try:
            turn = self._waiting.popleft()
        except IndexError:
            return False
        turn.connection = connection
        turn.lock.release()
        return True

    @property
    def is_wanted(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    def wait(self, deadline: Deadline) -> Connection | None:
        """Wait for a turn, for a moment at most; return the connection that came with it."""
        turn = _Turn()
        self._waiting.append(turn)
        try:
            if not turn.lock.acquire(timeout=min(_SLICE_S, deadline.remaining_ms / 1000)) and not self._left(turn):
                # Given at the last moment: the connection is there before the lock is released.
                turn.lock.acquire(timeout=_SLICE_S)
        except BaseException:
            self._left(turn)
            if turn.connection is not None and not self.give(turn.connection):
                turn.connection.close()
            raise
        return turn.connection

    def _left(self, turn: _Turn) -> bool:
        """Leave the queue; return whether the turn was still in it."""
        try:
            self._waiting.remove(turn)
        except ValueError:
            return False
        return True


class _Turn:
    """One caller's place in the queue."""

    __slots__ = ("connection", "lock")

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.lock = threading.Lock()
        self.lock.acquire()


def most_connections() -> int:
    """Return how many connections this process should have at most."""
    if not _HAS_LIMITS:
        return MOST_CONNECTIONS
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST_CONNECTIONS if limit < 0 else max(1, min(MOST_CONNECTIONS, limit // _SHARE))
