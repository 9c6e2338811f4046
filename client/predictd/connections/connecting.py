"""Connecting: from an address to a connection whose server has answered the handshake.

Owns the attempts, their pace and the handshake. Since a connection never reconnects by itself, each attempt is a fresh
one. The caller's thread; bounded by a deadline.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Protocol

from predictd.connections.segments import may_share, segments_for
from predictd.connections.transport import Connection, ConnectionLost
from predictd.deadline import Deadline
from predictd.process import importing
from predictd.wording import restated
from predictd_proto.errors import ProtocolError, RemoteProtocolError, ServerUnavailableError, TransportError
from predictd_proto.frames import decode, encode
from predictd_proto.limits import Limits
from predictd_proto.messages import ErrorResponse, Hello, Message, Welcome
from predictd_proto.quantities import seconds_text
from predictd_proto.segments import ReplyMemory
from predictd_proto.tensors import Buffer
from predictd_proto.version import OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION, choose_version

#: What is accepted from a server. Clients trust theirs, and its answers may be larger than any request.
REPLY_LIMITS = Limits(max_header_bytes=64 << 20, max_request_bytes=1 << 40)

#: A server that is there answers within a millisecond; the window grows for slow networks.
FIRST_WINDOW_MS = 250.0
MOST_WINDOW_MS = 2_000.0

#: Where others could be asked as well: time to connect in before looking whether anybody listens at all.
BRIEF_WINDOW_MS = 20.0

#: Kept back of the time for finding out why nobody answers.
DIAGNOSIS_MS = 500.0

#: libzmq gives the descriptors of closed connections back on a thread of its own: where hundreds were lost with a
#: server on a busy machine, a limit of 1,024 was reached for a moment.
DESCRIPTOR_WAIT_MS = 2_000.0

#: Between looks at whether anything listens yet.
FIRST_PAUSE_S = 0.01
MOST_PAUSE_S = 0.25


class Prober(Protocol):
    """Finds out whether anything listens at an address, and why nobody answers there."""

    def is_listening(self, address: str, deadline: Deadline) -> bool:
        """Return whether anything accepts connections."""
        ...

    def likely_cause(self, address: str, deadline: Deadline) -> tuple[bool, str]:
        """Return whether anything listens, and in words why no server answered."""
        ...


class StandIn(Prober, Protocol):
    """Makes the connections to some addresses in place of a socket: the seam of `predictd.testing`."""

    def stands_for(self, address: str) -> bool:
        """Return whether it answers for an address."""
        ...

    def open(self, address: str) -> Connection:
        """Return a connection, as `Connection(address)` would."""
        ...


#: The newest comes first. Empty but in tests.
stand_ins: tuple[StandIn, ...] = ()


def open_connection(address: str) -> Connection:
    """Return a connection that begins to connect: a socket, but where a test has put something in its place.

    Raises:
        TransportError: There is no socket to be had.
    """
    for stand_in in stand_ins:
        if stand_in.stands_for(address):
            return stand_in.open(address)
    return Connection(address)


def connect(address: str, *, deadline: Deadline, is_awaited: bool = True) -> Connection:
    """Return a connection to the server at an address; its greeting is the server's `Welcome`.

    Args:
        address: Where the server's request or control socket listens.
        deadline: Until when to try.
        is_awaited: Where nobody listens, wait until the deadline for somebody who does; without it, fail at once.

    Raises:
        ServerUnavailableError: Nobody answered in time; the text says why, as far as it can be found out.
        ProtocolVersionError: The server speaks other versions.
        RemoteProtocolError: What answered is no predictd.
    """
    # The rest is for finding out why nobody answers, so that the error too comes in time.
    attempts = deadline.sooner(max(deadline.remaining_ms - DIAGNOSIS_MS, deadline.remaining_ms * 0.8))
    window_ms = FIRST_WINDOW_MS if is_awaited else BRIEF_WINDOW_MS
    while True:
        connection = _try_once(address, window_ms, attempts)
        if connection is not None:
            return connection
        if not (_await_listener(address, attempts) if is_awaited else _is_listening(address, attempts)):
            raise _unavailable(address, deadline)
        window_ms = min(window_ms * 2, MOST_WINDOW_MS)


def _try_once(address: str, window_ms: float, deadline: Deadline) -> Connection | None:
    connection = _opened(address, deadline.sooner(DESCRIPTOR_WAIT_MS))
    try:
        if connection.wait_connected(deadline.sooner(window_ms)):
            welcome = _shake_hands(connection, deadline)
            if welcome is not None:
                connection.greeting = welcome
                connection.segments = segments_for(address, welcome)
                return connection
    except ConnectionLost:
        pass
    except BaseException:
        connection.close()
        raise
    connection.close()
    return None


def _opened(address: str, deadline: Deadline) -> Connection:
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return open_connection(address)
        except TransportError:
            if deadline.is_over:
                raise
        time.sleep(min(pause_s, deadline.remaining_ms / 1000))
        pause_s = min(pause_s * 2, MOST_PAUSE_S)


def _is_listening(address: str, deadline: Deadline) -> bool:
    return not deadline.is_over and _prober(address).is_listening(address, deadline)


def _await_listener(address: str, deadline: Deadline) -> bool:
    """Wait until something listens there; return False when the deadline comes first."""
    pause_s = FIRST_PAUSE_S
    while not deadline.is_over:
        if _prober(address).is_listening(address, deadline):
            return True
        time.sleep(min(pause_s, deadline.remaining_ms / 1000))
        pause_s = min(pause_s * 2, MOST_PAUSE_S)
    return False


def _unavailable(address: str, deadline: Deadline) -> ServerUnavailableError:
    listens, cause = _prober(address).likely_cause(address, deadline)
    text = f"no predictd answered at {address} within {seconds_text(deadline.waited_ms)}: {cause}"
    return ServerUnavailableError(text, {"endpoint": address, "is_listening": listens})


def _shake_hands(connection: Connection, deadline: Deadline) -> Welcome | None:
    """Return the server's answer; None when none came in time."""
    hello = Hello(
        oldest=OLDEST_PROTOCOL_VERSION,
        newest=PROTOCOL_VERSION,
        client=_own_name(),
        segments=may_share(connection.address),
    )
    connection.send(encode(hello), None)
    frames = connection.receive(deadline)
    return None if frames is None else _welcome_of(frames, connection.address)


def _prober(address: str) -> Prober:
    """Return what finds out why nobody answers: the module costs a tenth of our import time, and few need it."""
    for stand_in in stand_ins:
        if stand_in.stands_for(address):
            return stand_in
    with importing():
        import predictd.connections.probe

    return predictd.connections.probe


def _own_name() -> str:
    # Not the package's version: reading it costs more than connecting.
    program = os.path.basename(sys.argv[0]) if sys.argv and sys.argv[0] else "python"
    return f"{program[:64]} (pid {os.getpid()})".encode("ascii", "replace").decode()


def _welcome_of(frames: list[Buffer], address: str) -> Welcome:
    message = read_message(frames, address)
    if isinstance(message, ErrorResponse):
        error = message.error()
        raise restated(error, f"server at {address}: {error.message}")
    if not isinstance(message, Welcome):
        text = f"server at {address}: expected a Welcome, got a {type(message).__name__}"
        raise RemoteProtocolError(text)
    choose_version(their_oldest=message.version, their_newest=message.version, them="server")
    return message


def read_message(frames: list[Buffer], address: str, reply_memory: ReplyMemory | None = None) -> Message:
    """Return the message that a server's frames hold.

    Args:
        frames: As received.
        address: Where they came from, for error texts.
        reply_memory: Returns memory that was lent for outputs; None where none was.

    Raises:
        RemoteProtocolError: They hold none; the text names the endpoint.
        ProtocolVersionError: They are of a version that isn't spoken here.
    """
    try:
        return decode(frames, REPLY_LIMITS, reply_memory=reply_memory)
    except ProtocolError as error:
        raise restated(error, f"server at {address}: {error.message}") from error
