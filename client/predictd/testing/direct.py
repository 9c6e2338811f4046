"""Connections without sockets: a client in this process asks its fake by a function call.

Owns the connection that stands in for a socket, and the stand-in that makes it. The caller's thread; a thread of its
own only where an event loop waits for an answer that a fault holds back.
"""

from __future__ import annotations

import heapq
import os
import threading
import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from predictd.connections.segments import Segments
from predictd.connections.transport import Connection, ConnectionLost
from predictd.connections.turns import Place
from predictd.deadline import Deadline
from predictd.process import Process, this_process
from predictd.testing.bell import Bell
from predictd.testing.presence import Presence
from predictd.testing.turn import Reply
from predictd_proto.dtypes import Buffer
from predictd_proto.endpoints import Endpoint
from predictd_proto.frames import encode
from predictd_proto.messages import CancelRequest

if TYPE_CHECKING:
    from predictd.connections.segments import Segments

Take = Callable[[Sequence[Buffer]], Sequence[Reply]]

#: Longest single wait: how late a caller learns that its fake died meanwhile.
_SLICE_S = 0.02


class DirectConnection(Connection):
    """A connection that answers from a fake.

    Args:
        address: What it stands in for.
        take: Takes a message and returns what is sent back.
        presence: When the fake is there.
    """

    __slots__ = ("_alarm", "_inbox", "_is_closed", "_life", "_number", "_presence", "_take_in")

    def __init__(self, address: str, take: Take, presence: Presence) -> None:
        self.address = address
        self.process: Process = this_process()
        self.pending_id = None
        self.greeting: Any = None
        self.segments: Segments | None = None
        self.place: Place | None = None
        self._last_id = int.from_bytes(os.urandom(5), "big") << 20
        self._take_in = take
        self._presence = presence
        self._inbox: list[tuple[float, int, list[Buffer]]] = []
        self._number = count()
        self._is_closed = False
        self._life = presence.life if presence.is_here else 0
        self._alarm: _Alarm | None = None

    def __del__(self) -> None:
        if hasattr(self, "_alarm"):
            self.close()

    @property
    def is_connected(self) -> bool:
        """Whether the fake is there, and the one that this connection met."""
        if self._is_closed:
            return False
        if not self._life and self._presence.is_here:
            self._life = self._presence.life
        return self._life == self._presence.life and self._presence.is_here

    def wait_connected(self, deadline: Deadline) -> bool:
        """Wait until the fake is there; return whether it is."""
        while not self.is_connected:
            if self._life or self._is_closed or deadline.is_over:
                return False
            time.sleep(min(deadline.remaining_ms / 1000, _SLICE_S))
        return True

    def send(self, frames: Sequence[Buffer], request_id: int | None) -> None:
        """Hand a message to the fake; what it answers lies ready when this returns, unless a fault holds it back.

        Raises:
            ConnectionLost: The fake is gone.
        """
        self.pending_id = request_id
        if not self.is_connected:
            raise ConnectionLost
        for reply in self._take_in(frames):
            due_s = time.monotonic() + reply.after_ms / 1000
            heapq.heappush(self._inbox, (due_s, next(self._number), reply.frames))
        self._ring()

    def receive(self, deadline: Deadline) -> list[Buffer] | None:
        """Return the next message; None when the deadline has passed.

        Raises:
            ConnectionLost: The fake is gone.
        """
        while True:
            frames = self.receive_ready()
            if frames is not None:
                return frames
            remaining_s = deadline.remaining_ms / 1000
            if remaining_s <= 0:
                return None
            due_s = self._inbox[0][0] - time.monotonic() if self._inbox else _SLICE_S
            time.sleep(max(min(remaining_s, due_s, _SLICE_S), 0.0))

    def receive_ready(self) -> list[Buffer] | None:
        """Return the next message if there is one; None when there is none yet.

        Raises:
            ConnectionLost: The fake is gone.
        """
        if self._inbox and self._inbox[0][0] <= time.monotonic() and self._life == self._presence.life:
            return heapq.heappop(self._inbox)[2]
        if not self.is_connected:
            raise ConnectionLost
        self._ring()
        return None

    def fileno(self) -> int:
        """Return a descriptor that is readable when there is something to look at."""
        if self._alarm is None:
            self._alarm = _Alarm(self._presence)
            self._ring()
        return self._alarm.descriptor

    def cancel(self, request_id: int) -> None:
        """Tell the fake to drop a request."""
        if self.is_connected:
            self._take_in(encode(CancelRequest(id=request_id)))

    def abandon(self) -> None:
        """Close it, and tell the fake to drop what it was asked."""
        if self.process is this_process() and self.pending_id is not None:
            self.cancel(self.pending_id)
        self.close()

    def close(self) -> None:
        """Close it."""
        self._is_closed = True
        self.uncount()
        alarm, self._alarm = self._alarm, None
        if alarm is not None and self.process is this_process():
            alarm.close()

    def _ring(self) -> None:
        if self._alarm is not None:
            self._alarm.ring_at(self._inbox[0][0] if self._inbox else None)


class _Alarm:
    """A bell that rings at a given moment, and when the fake's presence changes."""

    def __init__(self, presence: Presence) -> None:
        self._bell = Bell()
        self.descriptor = self._bell.descriptor
        self._presence = presence
        self._timer: threading.Timer | None = None
        presence.watch(self._bell.ring)

    def ring_at(self, due_s: float | None) -> None:
        """Ring at an instant of the monotonic clock, and not for what was before; None for no more."""
        self._unset()
        self._bell.silence()
        if due_s is None:
            return
        delay_s = due_s - time.monotonic()
        if delay_s <= 0:
            self._bell.ring()
            return
        self._timer = threading.Timer(delay_s, self._bell.ring)
        self._timer.daemon = True
        self._timer.start()

    def close(self) -> None:
        self._presence.unwatch(self._bell.ring)
        self._unset()
        self._bell.close()

    def _unset(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class DirectStandIn:
    """Makes direct connections in place of sockets.

    Args:
        take: Takes a message and returns what is sent back.
        presence: When the fake is there.
        endpoint: Answer for this one; None for every one.
        spared: Addresses that are left to sockets all the same.
    """

    def __init__(
        self, take: Take, presence: Presence, *, endpoint: Endpoint | None, spared: frozenset[str] = frozenset()
    ) -> None:
        self._take = take
        self._presence = presence
        self._endpoint = endpoint
        self._spared = spared

    def stands_for(self, address: str) -> bool:
        """Return whether it answers for an address."""
        if self._endpoint is None:
            return address not in self._spared
        return address in {self._endpoint.data, self._endpoint.control}

    def open(self, address: str) -> Connection:
        """Return a connection to the fake."""
        return DirectConnection(address, self._take, self._presence)

    def is_listening(self, address: str, deadline: Deadline) -> bool:
        """Return whether the fake is there."""
        del address, deadline
        return self._presence.is_here

    def likely_cause(self, address: str, deadline: Deadline) -> tuple[bool, str]:
        """Return whether the fake is there, and in words why it did not answer."""
        del address, deadline
        if self._presence.is_here:
            return True, "the fake of predictd.testing is silent (faults.silence, or it went away just now)"
        return False, "the fake of predictd.testing is away (faults.away or faults.die)"
