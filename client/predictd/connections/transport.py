"""The transport: one DEALER socket to one endpoint. The only module of the client that knows ZeroMQ.

Owns sockets, their options and the one way in which the client waits. It speaks frames, not messages, but for the
cancel that it sends with an abandoned request. A connection serves one caller at a time, in the process that made it.

How a lost server is seen: with IMMEDIATE libzmq takes a connection's pipe away as soon as the peer is gone, and without
reconnecting none comes back. So "not writable" means "lost", for good. The only other reason would be a full pipe, and
one request at a time never fills it. Killed servers were seen at once over ipc and tcp, quickly restarted ones too.

How it waits: never in ZeroMQ, whose time-outs restart or end early when signals arrive, but in poll(2) on the socket's
descriptor, which Python resumes correctly after a signal (PEP 475). The descriptor only says "look again" (its edges
are consumed by looking), so EVENTS is read before every wait.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import zmq

from predictd.connections.polling import new_poll
from predictd.deadline import Deadline
from predictd.process import Process, set_aside, this_process
from predictd_proto.errors import TransportError
from predictd_proto.frames import encode
from predictd_proto.messages import CancelRequest
from predictd_proto.tensors import Buffer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from predictd.connections.segments import Segments
    from predictd.connections.turns import Place

# Plain numbers: turning an enum's member into one costs half a microsecond per use.
_EVENTS = int(zmq.EVENTS)
_READABLE = int(zmq.POLLIN)
_WRITABLE = int(zmq.POLLOUT)
_NOBLOCK = int(zmq.NOBLOCK)
_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)

#: Longest single wait. A wake-up that an event loop's patched poll loses costs no more than this.
SLICE_MS = 100

#: What a closed socket may still send: the cancel of an abandoned request.
CANCEL_LINGER_MS = 200

#: ZeroMQ's own limit is 1023 sockets per process: too few for a process with as many threads.
MAX_SOCKETS = 8192

#: tcp only: a peer that vanished without a word (power, cable, a dropped route) is noticed after the sum of these.
HEARTBEAT_MS = 5_000
HEARTBEAT_TIMEOUT_MS = 15_000

_contexts: dict[Process, zmq.Context[zmq.Socket[bytes]]] = {}


class ConnectionLost(Exception):  # noqa: N818  (a signal between modules; callers get an error of the public tree)
    """The peer is gone."""


class Connection:
    """One socket.

    Args:
        address: What to connect to. Connecting goes on in the background; `wait_connected` waits for it.

    Attributes:
        address: What it connects to.
        process: The process that made it.
        pending_id: The request that was (perhaps only partly) sent and has no answer yet; None when it is idle.
        greeting: What the handshake brought; set by whoever made it.
        segments: What it shares with its server; set likewise, None for nothing.
        place: That among the connections which the process should have; None where it takes none.
    """

    __slots__ = (
        "_get",
        "_is_sending",
        "_last_id",
        "_poll",
        "_recv",
        "_send",
        "_socket",
        "address",
        "greeting",
        "pending_id",
        "place",
        "process",
        "segments",
    )

    def __init__(self, address: str) -> None:
        self.address: str = address
        self.process: Process = this_process()
        self.pending_id: int | None = None
        self.greeting: Any = None
        self.segments: Segments | None = None
        self.place: Place | None = None
        # Ids of different connections never meet, neither in a log nor in an answer that took a wrong turn.
        self._last_id = int.from_bytes(os.urandom(5), "big") << 20
        self._is_sending = False
        self._socket = _new_socket(self.process, address)
        self._poll = new_poll(self._socket.fileno())
        # Bound once: looking each of them up takes 40 ns, per call.
        self._get: Callable[[int], Any] = self._socket.get
        # That of the class below: pyzmq's public `send` only adds what other kinds of socket need.
        self._send: Callable[[Buffer, int], object] = super(zmq.Socket, self._socket).send
        self._recv: Callable[[int, bool], Any] = self._socket.recv

    def __del__(self) -> None:
        # Reached without `close` when a signal's exception struck before anyone was responsible for it.
        if hasattr(self, "_socket"):
            self.close()

    @property
    def is_connected(self) -> bool:
        """Whether the peer is there; once it was and is no more, this stays False."""
        return bool(self._get(_EVENTS) & _WRITABLE)

    def uncount(self) -> None:
        """Count it no longer among the process's connections: whoever has it keeps it, so nobody should wait for it."""
        if self.place is not None:
            self.place.leave()

    def next_id(self) -> int:
        """Return an id that no request on this connection had."""
        self._last_id += 1
        return self._last_id

    def wait_connected(self, deadline: Deadline) -> bool:
        """Wait until the peer is there; return whether it is."""
        while not self.is_connected:
            remaining_ms = deadline.remaining_ms
            if remaining_ms <= 0:
                return False
            self._poll.poll(min(remaining_ms, SLICE_MS))
        return True

    def send(self, frames: Sequence[Buffer], request_id: int | None) -> None:
        """Send a message without waiting.

        Args:
            frames: The message.
            request_id: What to cancel when the connection is abandoned before an answer came; None for nothing.

        Raises:
            ConnectionLost: The peer is gone; nothing was sent.
        """
        self.pending_id = request_id
        try:
            if len(frames) > 1:
                self._is_sending = True
                for frame in frames[:-1]:
                    self._send(frame, _MORE)
                # Before the last frame and not after it: a signal that strikes while it is copied finds it sent.
                self._is_sending = False
            self._send(frames[-1], _NOBLOCK)
        except zmq.Again:
            raise ConnectionLost from None

    def receive(self, deadline: Deadline) -> list[Buffer] | None:
        """Return the next message; None when the deadline has passed.

        Raises:
            ConnectionLost: The peer is gone.
        """
        while True:
            # Without this look ZeroMQ takes us for awake still, and does not wake us.
            events = self._get(_EVENTS)
            if not events & _READABLE:
                if not events & _WRITABLE:
                    raise ConnectionLost
                remaining_ms = deadline.remaining_ms
                if remaining_ms <= 0:
                    return None
                self._poll.poll(remaining_ms if remaining_ms < SLICE_MS else SLICE_MS)
            frames = self._take()
            if frames is not None:
                return frames

    def receive_ready(self) -> list[Buffer] | None:
        """Return the next message if there is one; None when there is none yet.

        Once it returned None, the descriptor becomes readable when there is more; not before, and not after anything
        else that was done to the connection: sending takes the same edge away.

        Raises:
            ConnectionLost: The peer is gone, and all that it sent was returned.
        """
        while True:
            events = self._get(_EVENTS)
            if not events & _READABLE:
                if events & _WRITABLE:
                    return None
                raise ConnectionLost
            frames = self._take()
            if frames is not None:
                return frames

    def fileno(self) -> int:
        """Return the descriptor to wait on between two calls of `receive_ready`."""
        return int(self._socket.fileno())

    def cancel(self, request_id: int) -> None:
        """Tell the server to drop a request, without waiting. Where the peer is gone there is nobody to tell."""
        try:
            # In the middle of a message a cancel would become a part of it.
            if not self._is_sending and not self._socket.closed:
                self._send(encode(CancelRequest(id=request_id))[0], _NOBLOCK)
        except zmq.ZMQError:
            pass

    def abandon(self) -> None:
        """Close a connection whose state is unknown, and tell the server to drop what it was asked."""
        self._end_segments()
        if self.process is not this_process():
            set_aside(self._socket)
            return
        try:
            if self.pending_id is not None:
                self.cancel(self.pending_id)
        finally:
            self._socket.close(CANCEL_LINGER_MS)
            self.uncount()

    def close(self) -> None:
        """Close the connection at once."""
        self._end_segments()
        if self.process is this_process():
            self._socket.close()
            self.uncount()
        else:
            set_aside(self._socket)

    def _end_segments(self) -> None:
        if self.segments is not None:
            self.segments.close()

    def _take(self) -> list[Buffer] | None:
        try:
            # Without a copy, as a frame knows whether there are more; asking the socket takes longer than copying.
            frame = self._recv(_NOBLOCK, False)
        except zmq.Again:
            return None
        frames: list[Buffer] = [frame.bytes]
        while frame.more:
            # Large tensors: a view of ZeroMQ's memory, so that the copy into the result is the only one.
            frame = self._recv(_NOBLOCK, False)
            frames.append(frame.buffer)
        return frames


def _new_socket(process: Process, address: str) -> zmq.Socket[bytes]:
    context = _contexts.get(process)
    if context is None:
        context = zmq.Context()
        context.set(zmq.MAX_SOCKETS, MAX_SOCKETS)
        # Of two threads one wins; the other's context has started nothing yet.
        context = _contexts.setdefault(process, context)
    try:
        socket = context.socket(zmq.DEALER)
    except zmq.ZMQError as error:
        text = (
            f"endpoint {address}: can't open a socket: {error.strerror}. Each call in progress holds one and two file "
            "descriptors; close clients that are no longer used, or raise the limit (ulimit -n)"
        )
        raise TransportError(text) from error
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.setsockopt(zmq.RECONNECT_IVL, -1)
    if address.startswith("tcp://"):
        socket.setsockopt(zmq.IPV6, 1)
        socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
    socket.connect(address)
    return socket
