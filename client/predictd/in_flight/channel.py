"""A channel: one connection that carries many requests at once, and which of them waits for which answer.

Owns the matching of answers to requests and the bounds on what one connection carries. It decides nothing about what
becomes of a request. The thread that runs its exchange.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from predictd.connections.transport import Connection
from predictd.in_flight.pending import Pending
from predictd_proto.tensors import Buffer

if TYPE_CHECKING:
    from predictd.in_flight.line import Line

#: Requests in flight on one connection. A server holds 128 unread replies for a client and drops the newest beyond.
MOST_IN_FLIGHT = 64

#: Requests that a server may leave unread, so that what was sent and cancelled again can't fill the pipe of a thousand
#: messages to a server that is stopped: a full pipe would look as if the server was lost.
MOST_UNREAD = 200


class Channel:
    """One connection and its requests.

    Args:
        connection: A connection that was greeted; it belongs to the channel.
        line: The endpoint it leads to.

    Attributes:
        connection: Likewise.
        line: Likewise.
        waiting: The requests in flight, by id.
        is_open: Whether it may be used.
        is_to_be_read: Whether it is on its exchange's list of those to read next.
    """

    __slots__ = (
        "_is_retired",
        "_next_id",
        "_unread_from",
        "connection",
        "is_open",
        "is_to_be_read",
        "line",
        "waiting",
    )

    def __init__(self, connection: Connection, line: Line) -> None:
        self.connection: Connection = connection
        connection.uncount()
        self.line: Line = line
        self.waiting: dict[int, Pending] = {}
        self.is_open: bool = True
        self.is_to_be_read: bool = False
        self._is_retired = False
        self._next_id = self._unread_from = connection.next_id()

    @property
    def is_worn(self) -> bool:
        """Whether nothing more should be sent: it is retired, or so much was since the newest answered request."""
        return self._is_retired or self._next_id - self._unread_from >= MOST_UNREAD

    @property
    def has_room(self) -> bool:
        """Whether it takes another request."""
        return len(self.waiting) < MOST_IN_FLIGHT and not self.is_worn

    @property
    def next_id(self) -> int:
        """The id of the next request that is sent."""
        return self._next_id

    def send(self, pending: Pending, frames: Sequence[Buffer]) -> None:
        """Send a request under the id `next_id`.

        Raises:
            ConnectionLost: The peer is gone; nothing was sent.
        """
        request_id = self._next_id
        self.connection.send(frames, None)
        self._next_id = request_id + 1
        pending.request_id = request_id
        pending.channel = self
        self.waiting[request_id] = pending

    def retire(self) -> None:
        """Take no more requests; those in flight may still be answered."""
        self._is_retired = True

    def take(self, request_id: int) -> Pending | None:
        """Return the request that an answer is for; None for one that was given up."""
        # Messages arrive in the order in which they were sent: so was everything before this one.
        if self._unread_from <= request_id < self._next_id:
            self._unread_from = request_id + 1
        pending = self.waiting.pop(request_id, None)
        if pending is not None:
            pending.channel = None
        return pending

    def cancel(self, pending: Pending) -> None:
        """Give a request up and tell the server to drop it."""
        del self.waiting[pending.request_id]
        pending.channel = None
        if self.connection.segments is not None:
            self.connection.segments.give_up(pending.request_id)
        self.connection.cancel(pending.request_id)

    def end(self) -> list[Pending]:
        """Close the connection, telling the server to drop what it has; return the requests that had no answer."""
        self.is_open = False
        left = list(self.waiting.values())
        self.waiting.clear()
        for pending in left:
            pending.channel = None
            self.connection.cancel(pending.request_id)
        self.connection.abandon()
        return left
