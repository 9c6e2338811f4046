"""Turns: callers that wait for a connection, because the process has as many as it should have.

Owns the queue and the bound. It opens nothing. A connection goes from the caller that has its answer straight to the
first one in the queue who asks at the same endpoint; once somebody has waited for a while, it is closed where need be,
and its place goes to that one. Any thread or greenlet; a deque's operations are atomic, and each caller waits on a lock
of its own, made at that moment: by the event loop that has patched the process by then, and left behind by no fork.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from predictd.process import Process

try:
    import resource
except ImportError:  # Windows
    _HAS_LIMITS = False
else:
    _HAS_LIMITS = True

if TYPE_CHECKING:
    from predictd.connections.pool import Pool
    from predictd.connections.transport import Connection
    from predictd.deadline import Deadline

#: Connections of a process, whatever its limit on file descriptors.
MOST_CONNECTIONS = 256

#: Of that limit a connection may use this share, and it takes two descriptors: the rest is the program's own.
_SHARE = 8

#: Longest wait between two looks: a turn that is lost with a caller who gave up costs no more than this. Whoever has
#: waited for longer is served before those who could go on with another caller's connection.
_SLICE_S = 0.1


#: The places taken, by id(): a set's add and discard are atomic, a number's += is not.
_taken: dict[Process, set[int]] = {}


class Place:
    """One among the connections that a process should have, from the decision to open it until it is closed.

    It is taken before it is known whether there is one to be had: two threads that looked first would both find the
    last one free.

    Args:
        process: Whose.
    """

    __slots__ = ("_taken",)

    def __init__(self, process: Process) -> None:
        self._taken = _taken.setdefault(process, set())
        self._taken.add(id(self))

    def __del__(self) -> None:
        self.leave()

    def leave(self) -> None:
        """Let another connection have it; more than once does no harm."""
        self._taken.discard(id(self))


def places_taken(process: Process) -> int:
    """Return how many connections a process has open or is about to, without those whose holders keep them."""
    return len(_taken.get(process, ()))


class Turns:
    """The queue of one process."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: deque[_Turn] = deque()

    def give(self, pool: Pool, connection: Connection | None) -> bool:
        """Hand a caller a connection, or with None the right to make one; return whether anybody waited.

        Args:
            pool: Whose connection it is or was.
            connection: The connection; where the first in the queue asks elsewhere it is closed.
        """
        turn = self._next(pool)
        if turn is None:
            return False
        if connection is None or turn.pool is pool:
            turn.connection = connection
        else:
            connection.close()
        turn.lock.release()
        return True

    @property
    def is_wanted(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    def wait(
        self, pool: Pool, deadline: Deadline, seek: Callable[[], Connection | Place | None]
    ) -> Connection | Place | None:
        """Wait for a turn, or until there is one without another caller's help.

        Args:
            pool: Where the caller asks.
            deadline: Until when.
            seek: Returns what there is without waiting; asked now and then.

        Returns:
            What was found, or the connection that came with the turn; None where the turn came without one, or the
            deadline has passed.
        """
        turn = _Turn(pool)
        self._waiting.append(turn)
        try:
            while (found := seek()) is None and not deadline.is_over:
                if turn.lock.acquire(timeout=min(_SLICE_S, deadline.remaining_ms / 1000)):
                    return turn.connection
            if not self._left(turn):
                # Given at the last moment: the connection is there before the lock is released.
                turn.lock.acquire(timeout=_SLICE_S)
                if found is None:
                    found = turn.connection
                elif turn.connection is not None:
                    pool.give_back(turn.connection)
        except BaseException:
            self._left(turn)
            if turn.connection is not None and not self.give(pool, turn.connection):
                turn.connection.close()
            raise
        return found

    def _next(self, pool: Pool) -> _Turn | None:
        """Take the first caller out of the queue who asks at a pool; the very first where that one waits too long."""
        while self._waiting:
            waiting = list(self._waiting)
            if not waiting:
                break
            turn = waiting[0]
            if monotonic() - turn.since_s < _SLICE_S:
                turn = next((other for other in waiting if other.pool is pool), turn)
            if self._left(turn):
                return turn
        return None

    def _left(self, turn: _Turn) -> bool:
        """Leave the queue; return whether the turn was still in it."""
        try:
            self._waiting.remove(turn)
        except ValueError:
            return False
        return True


class _Turn:
    """One caller's place in the queue."""

    __slots__ = ("connection", "lock", "pool", "since_s")

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.since_s = monotonic()
        self.connection: Connection | None = None
        self.lock = threading.Lock()
        self.lock.acquire()


def most_connections() -> int:
    """Return how many connections this process should have at most."""
    if not _HAS_LIMITS:
        return MOST_CONNECTIONS
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST_CONNECTIONS if limit < 0 else max(1, min(MOST_CONNECTIONS, limit // _SHARE))
