"""Endpoints: where a server listens. One rule for server and clients, so that they meet with no settings at all.

Owns reading and checking endpoint strings and the default one. It opens and creates nothing. Any thread.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass

from predictd_proto.errors import ConfigError

ENDPOINT_VARIABLE = "PREDICTD_ENDPOINT"
CONTROL_SUFFIX = ".control"

#: `sockaddr_un.sun_path` holds 108 bytes, the closing zero among them (unix(7)).
MAX_IPC_PATH_BYTES = 107
_LAST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server listens for requests, and for control beside it.

    Attributes:
        data: What the request socket binds or connects to.
        control: Likewise for the control socket: an ipc path with ".control" added, the next tcp port.
    """

    data: str
    control: str

    @property
    def path(self) -> str | None:
        """The socket file of an ipc endpoint; None for tcp."""
        return self.data[len("ipc://") :] if self.data.startswith("ipc://") else None

    @property
    def control_path(self) -> str | None:
        """The control socket's file of an ipc endpoint; None for tcp."""
        return self.control[len("ipc://") :] if self.data.startswith("ipc://") else None

    def __str__(self) -> str:
        return self.data

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Return the endpoint that a text names.

        Raises:
            ConfigError: It is neither `ipc:///absolute/path` nor `tcp://host:port`, or its path is too long.
        """
        if text.startswith("ipc://"):
            return _parse_ipc(text)
        if text.startswith("tcp://"):
            return _parse_tcp(text)
        message = f"endpoint {text!r}: expected ipc:///absolute/path or tcp://host:port"
        raise ConfigError(message)


def _parse_ipc(text: str) -> Endpoint:
    path = text[len("ipc://") :]
    if not path.startswith("/") or path.endswith("/"):
        message = f"endpoint {text!r}: expected ipc:// and the absolute path of a socket file, such as ipc:///run/predictd.sock"
        raise ConfigError(message)
    size = len(os.fsencode(path + CONTROL_SUFFIX))
    if size > MAX_IPC_PATH_BYTES:
        most = MAX_IPC_PATH_BYTES - len(CONTROL_SUFFIX)
        message = f"endpoint {text!r}: its path is {size - len(CONTROL_SUFFIX)} bytes long, a socket's may have {most}; choose a shorter one"
        raise ConfigError(message)
    return Endpoint(text, text + CONTROL_SUFFIX)


def _parse_tcp(text: str) -> Endpoint:
    host, _, port = text[len("tcp://") :].rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < _LAST_PORT:
        message = f"endpoint {text!r}: expected tcp://host:port with a port from 1 to {_LAST_PORT - 1} (the next one is for control)"
        raise ConfigError(message)
    return Endpoint(text, f"tcp://{host}:{int(port) + 1}")


def default_endpoint(
    environ: Mapping[str, str] = os.environ, *, uid: int | None = None, temporary: str | None = None
) -> Endpoint:
    """Return the endpoint to use where none is named: one socket per user.

    `PREDICTD_ENDPOINT`, else under `XDG_RUNTIME_DIR`, else in a directory of the user's own under the temporary one.

    Args:
        environ: The environment.
        uid: The user; None for the process's own.
        temporary: The temporary directory; None for the process's own.
    """
    named = environ.get(ENDPOINT_VARIABLE)
    if named:
        return Endpoint.parse(named)
    runtime = environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Endpoint.parse(f"ipc://{runtime}/predictd/predictd.sock")
    user = (os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")) if uid is None else uid
    return Endpoint.parse(f"ipc://{temporary or tempfile.gettempdir()}/predictd-{user}/predictd.sock")
