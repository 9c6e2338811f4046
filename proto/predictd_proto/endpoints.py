"""Endpoints: where a server listens. One rule for server and clients, so that they meet with no settings at all.

Owns reading and checking endpoint strings, lists of them and the default one. It opens and creates nothing. Any thread.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from predictd_proto.errors import ConfigError

ENDPOINT_VARIABLE = "PREDICTD_ENDPOINT"
RUNTIME_VARIABLE = "XDG_RUNTIME_DIR"
CONTROL_SUFFIX = ".control"

#: Between the endpoints that a client may be given.
SEPARATOR = ","

#: `sockaddr_un.sun_path` holds 108 bytes, the closing zero among them (unix(7)).
MAX_IPC_PATH_BYTES = 107
_IPC, _TCP = "ipc://", "tcp://"

#: A name, an IPv4 address or "*" (every interface, for a server), or an IPv6 address in brackets; then the port.
_HOST_PORT = re.compile(r"([A-Za-z0-9_.-]+|\*|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?\]):([1-9][0-9]{0,4})")

#: The next port is for control.
_LAST_DATA_PORT = 65534


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server listens for requests, and for control beside it.

    Attributes:
        data: What the request socket binds or connects to.
        control: Likewise for the control socket: an ipc path with ".control" added, the next tcp port.
        is_default: Whether nobody has named it.
    """

    data: str
    control: str
    is_default: bool = field(default=False, compare=False)

    @property
    def path(self) -> str | None:
        """The socket file of an ipc endpoint; None for tcp."""
        return self.data[len(_IPC) :] if self.data.startswith(_IPC) else None

    @property
    def control_path(self) -> str | None:
        """The control socket's file of an ipc endpoint; None for tcp."""
        return self.control[len(_IPC) :] if self.control.startswith(_IPC) else None

    def __str__(self) -> str:
        return self.data

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Return the endpoint that a text names.

        Raises:
            ConfigError: It is neither `ipc:///absolute/path` nor `tcp://host:port`, or its path is too long or holds a
                comma: those separate endpoints.
        """
        if SEPARATOR in text:
            message = f"endpoint {text!r}: expected one endpoint, without commas: they separate several"
            raise ConfigError(message)
        # zmq would end an address at a zero byte, and a line break or blank from a file's end is never meant.
        if text.isprintable() and text == text.strip():
            if text.startswith(_IPC):
                return _parse_ipc(text)
            if text.startswith(_TCP):
                return _parse_tcp(text)
        message = (
            f"endpoint {text!r}: expected ipc:///absolute/path or tcp://host:port, "
            "without blanks around it or control characters in it"
        )
        raise ConfigError(message)


def _parse_ipc(text: str) -> Endpoint:
    path = text[len(_IPC) :]
    if not path.startswith("/") or path.endswith("/"):
        message = (
            f"endpoint {text!r}: expected ipc:// and the absolute path of a socket file, "
            "such as ipc:///run/predictd/predictd.sock"
        )
        raise ConfigError(message)
    size = len(os.fsencode(path))
    most = MAX_IPC_PATH_BYTES - len(CONTROL_SUFFIX)
    if size > most:
        message = (
            f"endpoint {text!r}: its path is {size} bytes long, a socket's may have {most}; "
            f"choose a shorter one, for instance by {ENDPOINT_VARIABLE}"
        )
        raise ConfigError(message)
    return Endpoint(text, text + CONTROL_SUFFIX)


def _parse_tcp(text: str) -> Endpoint:
    match = _HOST_PORT.fullmatch(text, len(_TCP))
    if match is None or int(match[2]) > _LAST_DATA_PORT:
        message = (
            f"endpoint {text!r}: expected tcp://host:port with a port from 1 to {_LAST_DATA_PORT} "
            "(the next one is for control); an IPv6 address goes in brackets"
        )
        raise ConfigError(message)
    return Endpoint(text, f"{_TCP}{match[1]}:{int(match[2]) + 1}")


def parse_endpoints(texts: str | Iterable[str]) -> tuple[Endpoint, ...]:
    """Return the endpoints that a client is to use, in their order.

    Args:
        texts: Endpoints, or one text with commas between them; blanks around them don't matter.

    Raises:
        ConfigError: One is no endpoint, empty or named twice, or there is none; the text says which.
    """
    items: list[Any] = texts.split(SEPARATOR) if isinstance(texts, str) else list(texts)
    found: dict[str, Endpoint] = {}
    for position, item in enumerate(items, 1):
        where = f"endpoint {position} of {len(items)}"
        if not isinstance(item, str) or (len(items) > 1 and not item.strip()):
            message = f"{where}: expected ipc:///absolute/path or tcp://host:port, got {item!r}"
            raise ConfigError(message)
        endpoint = Endpoint.parse(item.strip(" ") if len(items) > 1 else item)
        if endpoint.data in found:
            message = f"{where}: {endpoint.data!r} is in the list already; remove one of the two"
            raise ConfigError(message)
        found[endpoint.data] = endpoint
    if not found:
        message = "endpoints: expected at least one, got none"
        raise ConfigError(message)
    return tuple(found.values())


def default_endpoints() -> tuple[Endpoint, ...]:
    """Return the endpoints that a client uses where none is named: those in `PREDICTD_ENDPOINT`, else the default one.

    Raises:
        ConfigError: What a variable holds is no endpoint; the text names the variable and the item.
    """
    named = os.environ.get(ENDPOINT_VARIABLE)
    if not named:
        return (default_endpoint(),)
    try:
        return parse_endpoints(named)
    except ConfigError as error:
        message = f"from {ENDPOINT_VARIABLE}: {error.message}"
        raise ConfigError(message) from error


def default_endpoint(
    environ: Mapping[str, str] = os.environ, *, uid: int | None = None, temporary: str | None = None
) -> Endpoint:
    """Return the endpoint where a server listens if none is named: one socket per user.

    `PREDICTD_ENDPOINT`, else under `XDG_RUNTIME_DIR`, else in a directory of the user's own under the temporary one.
    An empty variable counts as unset, and so does an `XDG_RUNTIME_DIR` that is no absolute path, as its own
    specification asks.

    Args:
        environ: The environment.
        uid: The user; None for the process's own.
        temporary: The temporary directory; None for the process's own.

    Raises:
        ConfigError: What a variable holds is no endpoint; the text names the variable.
    """
    named = environ.get(ENDPOINT_VARIABLE)
    if named:
        return _parse_from(ENDPOINT_VARIABLE, named)
    runtime = environ.get(RUNTIME_VARIABLE, "")
    if runtime.startswith("/"):
        path = f"{_IPC}{runtime.rstrip('/')}/predictd/predictd.sock"
        return replace(_parse_from(RUNTIME_VARIABLE, path), is_default=True)
    if not temporary:
        import tempfile  # not at import: every client would pay for it, and few need it

        temporary = tempfile.gettempdir()
    directory = temporary.rstrip("/")
    user = _own_user() if uid is None else uid
    path = f"{_IPC}{directory}/predictd-{user}/predictd.sock"
    return replace(_parse_from("the temporary directory", path), is_default=True)


def _parse_from(origin: str, text: str) -> Endpoint:
    try:
        return Endpoint.parse(text)
    except ConfigError as error:
        message = f"from {origin}: {error.message}"
        raise ConfigError(message) from error


def _own_user() -> int | str:
    """There are no numbers for users on Windows."""
    return os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
