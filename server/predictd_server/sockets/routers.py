"""The server's sockets: what both ROUTERs have in common, and how they are bound.

Owns their options. It reads and sends nothing. Main thread, before the threads that own the sockets start.
"""

from __future__ import annotations

import os

import zmq

from predictd_proto.errors import ConfigError
from predictd_proto.limits import Limits

#: Messages that libzmq holds for one client in each direction; of replies beyond it the newest are lost and counted.
#: It tells the writer of what was read by halves only, so that just 64 more fit at any time: what WIRE.md allows.
MOST_UNREAD = 128

#: What was sent has this long to leave after the socket is closed.
LINGER_MS = 1000

#: tcp only, where a client can vanish without a word (power, cable, a dropped route): it is noticed after the sum of
#: these. Longer than the client's own, since a client that was stopped for a while loses its connection by it.
HEARTBEAT_MS = 10_000
HEARTBEAT_TIMEOUT_MS = 30_000


def new_context() -> zmq.Context[zmq.Socket[bytes]]:
    """Return the process's one zmq context."""
    return zmq.Context()


def router_socket(context: zmq.Context[zmq.Socket[bytes]], limits: Limits) -> zmq.Socket[bytes]:
    """Return a ROUTER socket with the options that both sockets need."""
    router = context.socket(zmq.ROUTER)
    router.setsockopt(zmq.LINGER, LINGER_MS)
    # A reply to a client that has gone is an error that can be counted, not a silent drop.
    router.setsockopt(zmq.ROUTER_MANDATORY, 1)
    # Messages, per client: what a client that does not read, or sends without end, can make libzmq hold.
    router.setsockopt(zmq.SNDHWM, MOST_UNREAD)
    router.setsockopt(zmq.RCVHWM, MOST_UNREAD)
    # Counts single frames; the sender of a larger one is disconnected before anything is allocated for it.
    router.setsockopt(zmq.MAXMSGSIZE, max(limits.max_request_bytes, limits.max_header_bytes))
    return router


def bind_router(router: zmq.Socket[bytes], endpoint: str) -> None:
    """Bind a socket; an ipc socket's file is for the owner alone.

    Raises:
        ConfigError: The endpoint can't be bound.
    """
    if endpoint.startswith("tcp://"):
        router.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        router.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
    before = os.umask(0o177)
    try:
        router.bind(endpoint)
    except zmq.ZMQError as error:
        text = f"endpoint {endpoint}: can't listen there: {error.strerror}; choose another one with --endpoint"
        raise ConfigError(text) from error
    finally:
        os.umask(before)
