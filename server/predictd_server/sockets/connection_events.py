"""Connection events: what libzmq reports of the data socket's connections.

Owns the monitor of one ROUTER socket and what a received frame tells of the connection it came over. It decides
nothing: `presence.py` does. Pump thread only.

The reports' queue has no bound. With one (2,000 by default) libzmq's I/O thread would wait while it is full, and all
clients with it: a thousand connections during one long run brought everything to a stop. A report takes some 200
bytes, and the pump reads them several times a second.
"""

from __future__ import annotations

import logging
import re
from struct import Struct

import zmq

from predictd_server.sockets.presence import Presence

_log = logging.getLogger(__name__)

_NOBLOCK = int(zmq.NOBLOCK)
_ACCEPTED = int(zmq.EVENT_ACCEPTED)
_DISCONNECTED = int(zmq.EVENT_DISCONNECTED)

#: Event and value; the address follows in a frame of its own.
_EVENT = Struct("=Hi")

#: How libzmq describes the peer of a Unix socket: uid, gid, pid. No address of tcp looks like it.
_LOCAL_PEER = re.compile(r"(?:localhost)?:(\d+):\d+:(\d+)")


class ConnectionEvents:
    """Reports of a socket's connections; open from the start, so that none is missed.

    Args:
        context: zmq's.
        watched: The socket; not bound yet.

    Attributes:
        socket: Readable when there is something to read.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], watched: zmq.Socket[bytes]) -> None:
        self._watched = watched
        address = f"inproc://predictd-connections-{id(self)}"
        watched.monitor(address, _ACCEPTED | _DISCONNECTED)
        self.socket: zmq.Socket[bytes] = context.socket(zmq.PAIR)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVHWM, 0)
        self.socket.connect(address)

    def read(self, presence: Presence) -> None:
        """Tell `presence` what has been reported since the last call."""
        receive = self.socket.recv
        while True:
            try:
                event, descriptor = _EVENT.unpack(receive(_NOBLOCK))
            except zmq.Again:
                return
            receive()
            if event == _ACCEPTED:
                presence.opened(descriptor)
            elif event == _DISCONNECTED:
                presence.closed(descriptor)

    def close(self) -> None:
        """Stop; before the watched socket is closed."""
        if not self._watched.closed:
            # First: a report to a socket that is gone would wait for ever, in libzmq's I/O thread.
            self._watched.disable_monitor()
        self.socket.close(0)


def last_made_up_id(context: zmq.Context[zmq.Socket[bytes]], router: zmq.Socket[bytes]) -> bytes:
    """Return the routing id that libzmq made up last for a ROUTER's connections: it goes on counting from there.

    Args:
        context: zmq's.
        router: Not bound yet, so that nobody but the one who asks here can be heard.
    """
    address = f"inproc://predictd-first-id-{id(router)}"
    router.bind(address)
    with context.socket(zmq.DEALER) as dealer:
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.connect(address)
        dealer.send(b"")
        peer, _ = router.recv_multipart()
    router.unbind(address)
    return peer


def descriptor_of(frame: zmq.Frame) -> int | None:
    """Return the descriptor of the connection that a frame came over; None where libzmq does not tell."""
    try:
        descriptor = int(frame.get(zmq.SRCFD))
    except (AttributeError, zmq.ZMQError):
        return None
    return descriptor if descriptor >= 0 else None


def process_of(frame: zmq.Frame) -> str:
    """Return who is at the other end, for people to read: the process over a Unix socket, the address over tcp."""
    address = _address_of(frame)
    local = _LOCAL_PEER.fullmatch(address)
    return f"pid {local[2]}" if local else address


def owner_of(frame: zmq.Frame) -> tuple[int, int] | None:
    """Return the user and the process at the other end of a Unix socket, as the kernel has them; None over tcp."""
    local = _LOCAL_PEER.fullmatch(_address_of(frame))
    return (int(local[1]), int(local[2])) if local else None


def _address_of(frame: zmq.Frame) -> str:
    try:
        return str(frame.get("Peer-Address"))
    except zmq.ZMQError:
        return "unknown"
