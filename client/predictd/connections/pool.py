"""The pool: connections of one process to one endpoint that wait for their next request.

Owns which connection a call gets and what becomes of it afterwards. Any number of threads may use it at once: a deque's
append and pop are atomic, so there is no lock that a fork could leave locked.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress

from predictd.connections.siblings import Siblings
from predictd.connections.transport import Connection
from predictd.connections.turns import Place, most_connections
from predictd.deadline import Deadline
from predictd.process import Process, this_process
from predictd_proto.limits import DEFAULT_LIMITS, Limits

#: Idle connections kept, as long as no other pool of the process needs their room; each is two file descriptors. More
#: callers at once than this cost a handshake now and then.
MOST_IDLE = 64


class Pool:
    """Idle connections.

    Attributes:
        process: The process it belongs to.
        server_id: The server that the newest connection reached; "" once it was lost.
        limits: What that server takes in one request.
        most_connections: How many connections the process should have, in all its pools.
    """

    __slots__ = (
        "__weakref__",
        "_idle",
        "_is_closed",
        "_siblings",
        "limits",
        "most_connections",
        "process",
        "server_id",
    )

    def __init__(self) -> None:
        self.process: Process = this_process()
        self.server_id: str = ""
        self.limits: Limits = DEFAULT_LIMITS
        self._idle: deque[Connection] = deque()
        self._is_closed = False
        self.most_connections: int = most_connections()
        self._siblings = Siblings.of(self.process)
        self._siblings.add(self)

    def __len__(self) -> int:
        return len(self._idle)

    def take(self) -> Connection | None:
        """Return an idle connection, the most recently used one; None when there is none.

        Whether its server is still there shows when something is sent: looking first would cost a microsecond per call.
        """
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def await_turn(self, deadline: Deadline) -> Connection | Place:
        """Wait while all the connections that this process should have are with callers; return one that is free again.

        Idle ones are no reason to wait: one of another pool is closed.

        Returns:
            The connection; a place for a new one where there is room, or the deadline has passed.
        """
        turn = self._seek()
        if turn is None:
            turn = self._siblings.turns.wait(self, deadline, self._seek)
        if turn is None:
            return Place(self.process)
        if not isinstance(turn, Place) and not turn.is_connected:
            turn.close()
            return Place(self.process)
        return turn

    def claim(self) -> Place:
        """Return a place for a caller who can't wait for one; where there is an idle connection, it is closed."""
        return self._siblings.take_place(self, self.most_connections) or Place(self.process)

    def _seek(self) -> Connection | Place | None:
        idle = self.take()
        return self._siblings.take_place(self, self.most_connections) if idle is None else idle

    def end_oldest(self) -> bool:
        """Close the connection that is idle longest; return whether there was any."""
        try:
            self._idle.popleft().close()
        except IndexError:
            return False
        return True

    def welcome(self, connection: Connection) -> None:
        """Take note of the server that a new connection reached; connections to an earlier one are closed."""
        server_id = connection.greeting.server_id
        if server_id != self.server_id:
            self.server_id = server_id
            self.limits = connection.greeting.limits
            self._close_strangers()

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next call, or end it where its state is unknown."""
        if connection.pending_id is not None:
            # One that was lost while it was used takes the others along: their end shows a moment later, and a request
            # that is sent again must not be lost a second time to the same server.
            if connection.process is this_process() and not connection.is_connected:
                self.server_id = ""
                self.close_idle()
            connection.abandon()
            self._siblings.turns.give(self, None)
            return
        if connection.segments is not None and connection.segments.is_lent:
            # Of a request that a signal kept from being sent, or that was answered without its id.
            connection.segments.end_loans()
        if len(self._idle) >= MOST_IDLE or connection.greeting.server_id != self.server_id:
            connection.close()
            self._siblings.turns.give(self, None)
        else:
            self._idle.append(connection)
            if self._siblings.turns.is_wanted:
                self._serve()
            if self._is_closed:  # looked at last: another thread may close the pool at any moment
                self.close_idle()

    def _serve(self) -> None:
        connection = self.take()
        if connection is not None and not self._siblings.turns.give(self, connection):
            self._idle.append(connection)

    def _close_strangers(self) -> None:
        # Not all: by the time this thread gets here, others may have come back from the same server.
        for connection in list(self._idle):
            if connection.greeting.server_id != self.server_id:
                with suppress(ValueError):
                    self._idle.remove(connection)
                    connection.close()

    def close(self) -> None:
        """Close what is idle now, and what is given back later."""
        self._is_closed = True
        self.close_idle()

    def close_idle(self) -> None:
        """Close what is idle now."""
        while True:
            try:
                self._idle.pop().close()
            except IndexError:
                return
