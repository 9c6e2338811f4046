"""Presence: which connections are open, whose they are, and who has left.

Owns the map from the descriptors of open connections to routing ids. It touches no socket. Pump thread only.

The rule above all others: nobody who is connected is ever taken for gone, not even where a report is lost. In doubt a
client that is gone counts as connected, and its requests wait for their deadlines. What this relies on, of libzmq with
one I/O thread:

- It reports a connection before any of its messages can be received, and its end before its descriptor is free for the
  next one. So whoever has read every report that there is *after* receiving a message has read all that is older than
  that message's connection, and a later report of an end on that descriptor is this connection's.
- The routing ids that it makes up begin with a zero byte, and the rest counts connections, from a random number on and
  round; none is given twice. One that a client chose itself may come back with its next connection: such a client is
  never taken for gone. It may begin with a zero byte too, so an id counts as libzmq's only where as many connections
  were accepted as it counts.
"""

from __future__ import annotations

_ROUND = 1 << 32


class Presence:
    """Who is connected.

    Args:
        last_id: The routing id that libzmq made up last, before any connection was accepted.

    Attributes:
        known: Clients whose connection is known, by routing id, with what is known of their process ("" for nothing).
            Never more than there are open connections, and those that `take_left` will return.
    """

    def __init__(self, last_id: bytes) -> None:
        self.known: dict[bytes, str] = {}
        self._before_first = last_id
        self._accepted = 0
        self._holders: dict[int, bytes | None] = {}
        self._left: dict[bytes, str] = {}

    def __len__(self) -> int:
        return len(self._holders)

    @property
    def has_left(self) -> bool:
        """Whether `take_left` has anybody to return."""
        return bool(self._left)

    def opened(self, descriptor: int) -> None:
        """Note that a connection was accepted."""
        # Not every end is reported (a routing id in use is refused without), but a descriptor is given out once.
        self.closed(descriptor)
        self._holders[descriptor] = None
        self._accepted += 1

    def closed(self, descriptor: int) -> None:
        """Note that a connection has ended."""
        peer = self._holders.pop(descriptor, None)
        if peer is not None:
            self._leave(peer)

    def meet(self, peer: bytes, descriptor: int, who: str) -> None:
        """Note whose a connection is.

        Args:
            peer: Routing id of a client that is not in `known`.
            descriptor: Its connection's, as its message tells; all reports must have been read since that came.
            who: What is known of its process.
        """
        if descriptor not in self._holders or not self.is_unique(peer):
            return
        holder = self._holders[descriptor]
        if holder is not None:
            if not _is_newer(peer, holder):
                # A last message of the connection that had this descriptor before.
                return
            self._leave(holder)
        self._holders[descriptor] = peer
        self.known[peer] = who

    def is_unique(self, peer: bytes) -> bool:
        """Whether a routing id is one that libzmq made up, which no later connection can have."""
        return may_be_unique(peer) and 0 < _distance(peer, self._before_first) <= self._accepted

    def take_left(self) -> dict[bytes, str]:
        """Return the clients that have left since the last call, with what was known of their processes."""
        left, self._left = self._left, {}
        for peer in left:
            del self.known[peer]
        return left

    def _leave(self, peer: bytes) -> None:
        self._left[peer] = self.known[peer]


def may_be_unique(peer: bytes) -> bool:
    """Whether a routing id looks like one that libzmq made up."""
    return len(peer) == 5 and peer[0] == 0  # noqa: PLR2004  (a zero byte and a count of four bytes)


def _is_newer(peer: bytes, other: bytes) -> bool:
    return 0 < _distance(peer, other) < _ROUND // 2


def _distance(peer: bytes, other: bytes) -> int:
    return (int.from_bytes(peer[1:], "big") - int.from_bytes(other[1:], "big")) % _ROUND
