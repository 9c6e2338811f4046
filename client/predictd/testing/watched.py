"""Connections that learn at once that their fake is gone, not when ZeroMQ's own thread has seen it.

Owns the stand-in for a fake with sockets. Without it, a client that outlives a test's fake could send the next test's
first request to nobody. The caller's thread.
"""

from __future__ import annotations

from collections.abc import Sequence

from predictd.connections.probe import is_listening, likely_cause
from predictd.connections.transport import Connection, ConnectionLost
from predictd.deadline import Deadline
from predictd.testing.presence import Presence
from predictd_proto.dtypes import Buffer
from predictd_proto.endpoints import Endpoint


class WatchedConnection(Connection):
    """A socket that belongs to one life of a fake.

    Args:
        address: What to connect to.
        presence: When the fake is there.
    """

    __slots__ = ("_life", "_presence")

    def __init__(self, address: str, presence: Presence) -> None:
        super().__init__(address)
        self._presence = presence
        self._life = presence.life

    @property
    def is_connected(self) -> bool:
        """Whether the fake that it was made for is there."""
        return self._life == self._presence.life and super().is_connected

    def send(self, frames: Sequence[Buffer], request_id: int | None) -> None:
        """Send a message without waiting.

        Raises:
            ConnectionLost: The fake is gone; nothing was sent.
        """
        if self._life != self._presence.life:
            self.pending_id = request_id
            raise ConnectionLost
        super().send(frames, request_id)


class WatchedStandIn:
    """Makes watched connections to a fake with sockets.

    Args:
        endpoint: Where it listens.
        presence: When it is there.
    """

    def __init__(self, endpoint: Endpoint, presence: Presence) -> None:
        self._addresses = {endpoint.data, endpoint.control}
        self._presence = presence

    def stands_for(self, address: str) -> bool:
        """Return whether the fake listens at an address."""
        return address in self._addresses

    def open(self, address: str) -> Connection:
        """Return a connection to the fake."""
        return WatchedConnection(address, self._presence)

    def is_listening(self, address: str, deadline: Deadline) -> bool:
        """Return whether anything accepts connections."""
        return is_listening(address, deadline)

    def likely_cause(self, address: str, deadline: Deadline) -> tuple[bool, str]:
        """Return whether anything listens, and in words why no server answered."""
        return likely_cause(address, deadline)
