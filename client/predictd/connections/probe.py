"""Why nobody answers at an endpoint, found out with plain sockets: the ZeroMQ ones never tell.

Owns the questions put to an endpoint that stays silent and the words for what was found. It sends nothing but ZeroMQ's
own greeting and leaves at once. The caller's thread; each question is bounded in time, all addresses of a host taken
together, and how long its name takes to be looked up (on a thread of its own: see `lookups.py`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from typing import Any
from urllib.parse import urlsplit

from predictd.connections.lookups import NameServiceSilent, addresses_of
from predictd.deadline import Deadline

#: What one question may take at most and at least; a local peer answers in a millisecond.
MOST_WAIT_S = 1.0
LEAST_WAIT_S = 0.02

#: Instead of no time at all, which a socket takes for "never wait".
_BRIEFLY_S = 0.001

#: ZMTP 3.1, "NULL" mechanism, as a client (rfc.zeromq.org/spec/37): signature, version, mechanism, role, filler.
_SIGNATURE_BYTES = 10
_GREETING_BYTES = 64
_GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
_READY = b"\x04\x1c\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
_SOCKET_TYPE = b"Socket-Type"
#: Peers of a DEALER; others are turned away without a word.
_FITTING_TYPES = {b"ROUTER", b"DEALER", b"REP"}


def is_listening(address: str, deadline: Deadline) -> bool:
    """Return whether anything accepts connections at an address."""
    try:
        _connect(address, deadline).close()
    except OSError:
        return False
    return True


def likely_cause(address: str, deadline: Deadline) -> tuple[bool, str]:
    """Return whether anything listens at an address, and in words why no server answered, and what to do."""
    try:
        connection = _connect(address, deadline)
    except OSError as error:
        return False, _refusal(address, error)
    with connection:
        try:
            return True, _silence(connection, deadline)
        except OSError as error:
            return (
                True,
                f"something accepts connections there and drops them ({error.strerror or error}): is it predictd?",
            )


def _end_of_question(deadline: Deadline) -> Deadline:
    """Return until when one question may take, whatever it consists of."""
    return Deadline(min(max(deadline.remaining_ms / 1000, LEAST_WAIT_S), MOST_WAIT_S) * 1000)


def _connect(address: str, deadline: Deadline) -> socket.socket:
    end = _end_of_question(deadline)
    if address.startswith("ipc://"):
        return _open(socket.AF_UNIX, address[len("ipc://") :], end.remaining_ms)
    parts = urlsplit(address)
    found = addresses_of(parts.hostname or "", parts.port or 0, end)
    refused: OSError | None = None
    for left, (family, _, _, _, where) in zip(range(len(found), 0, -1), found, strict=True):
        try:
            return _open(family, where, end.remaining_ms / left)
        except OSError as error:
            refused = error
    raise refused or OSError(errno.EADDRNOTAVAIL, "the name has no address")


def _open(family: int, where: Any, timeout_ms: float) -> socket.socket:
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(max(timeout_ms / 1000, _BRIEFLY_S))
        connection.connect(where)
    except BaseException:
        connection.close()
        raise
    return connection


def _refusal(address: str, error: OSError) -> str:
    if isinstance(error, NameServiceSilent):
        return f"the name service does not tell where {urlsplit(address).hostname!r} is: is the network up?"
    if isinstance(error, socket.gaierror):
        return f"the host name {urlsplit(address).hostname!r} is unknown: check its spelling and the name service"
    if isinstance(error, TimeoutError) or error.errno == errno.EAGAIN:
        return "connections are not accepted: the server is stopped or the host is down, or a firewall is in between"
    if address.startswith("ipc://"):
        return _file_refusal(address[len("ipc://") :], error)
    if error.errno == errno.ECONNREFUSED:
        return "nothing listens on that port: start `predictd serve` there, or correct the endpoint"
    return f"{error.strerror or error}"


def _file_refusal(path: str, error: OSError) -> str:
    if error.errno == errno.ENOENT:
        folder = os.path.dirname(path)
        missing = "no such socket file" if os.path.isdir(folder) else f"its directory {folder} does not exist"
        return f"{missing}: is `predictd serve` running, as this user and with this endpoint?"
    if error.errno == errno.EACCES:
        return f"no permission to connect to {path}: only the user that runs the server may"
    try:
        is_socket = stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError as stat_error:
        return f"{path}: {stat_error.strerror}"
    if not is_socket:
        return f"{path} is no socket: correct the endpoint"
    if error.errno == errno.ECONNREFUSED:
        return "the socket file is left over from a server that is gone: start `predictd serve` again"
    return f"{path}: {error.strerror}"


def _silence(connection: socket.socket, deadline: Deadline) -> str:
    end = _end_of_question(deadline)
    connection.settimeout(end.remaining_ms / 1000)
    with contextlib.suppress(OSError):  # it may have had its say and be gone
        connection.sendall(_GREETING)
    said = _receive(connection, end, _GREETING_BYTES)
    if not said:
        return "the connection is accepted, then silence: the server is stopped, or it is not predictd"
    if len(said) < _SIGNATURE_BYTES or said[0] != _GREETING[0] or said[_SIGNATURE_BYTES - 1] != _GREETING[9]:
        return f"something else than predictd listens there: it says {said[:24]!r}"
    mechanism = said[12:32].rstrip(b"\0").decode("ascii", "replace")
    if mechanism not in {"", "NULL"}:
        return f"the server asks for {mechanism} keys, which this client does not have"
    end = _end_of_question(deadline)
    connection.settimeout(end.remaining_ms / 1000)
    connection.sendall(_READY)
    kind = _socket_type(_receive(connection, end, 256, _SOCKET_TYPE))
    if kind and kind not in _FITTING_TYPES:
        return f"a ZeroMQ {kind.decode('ascii', 'replace')} socket listens there: it is not predictd"
    return "a ZeroMQ socket listens there, but nothing answers behind it: the server is stuck, or it is not predictd"


def _receive(connection: socket.socket, end: Deadline, most: int, until: bytes | None = None) -> bytes:
    """Return what comes until there is enough of it, the peer is done or the time is up."""
    said = b""
    try:
        while len(said) < most and not end.is_over:
            # Set each time: a peer that says a byte now and then would take as long as it likes.
            connection.settimeout(max(end.remaining_ms / 1000, _BRIEFLY_S))
            part = connection.recv(most - len(said))
            said += part
            if not part or (until is not None and until in said):
                break
    except TimeoutError:
        pass
    except OSError:
        if not said:
            raise
    return said


def _socket_type(said: bytes) -> bytes:
    _, _, rest = said.partition(_SOCKET_TYPE)
    return rest[4 : 4 + int.from_bytes(rest[:4], "big")]
