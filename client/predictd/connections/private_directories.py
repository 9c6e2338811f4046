"""Private directories: whether the socket at the default endpoint can only be this user's server's.

Owns that question. Nobody has named the default endpoint, so nobody has said that its place is trusted; and where there
is no XDG_RUNTIME_DIR it lies in the temporary directory, where any local user can make a directory of that name first
and answer in the server's place. The server refuses such a directory as well. Any thread.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from predictd_proto.endpoints import ENDPOINT_VARIABLE, Endpoint
from predictd_proto.errors import ConfigError

if TYPE_CHECKING:
    from predictd.connections.transport import Connection

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def is_private(endpoint: Endpoint) -> bool:
    """Return whether only this user and root can have put a socket at the default endpoint; True for any other one.

    Returns:
        False where its directory does not exist (yet): then anybody may still make it.

    Raises:
        ConfigError: Others own the directory, or may write to it.
    """
    if not endpoint.is_default or endpoint.path is None or not hasattr(os, "geteuid"):
        return True
    directory = os.path.dirname(endpoint.path)
    try:
        found = [os.lstat(directory)]
        if stat.S_ISLNK(found[0].st_mode):
            # Whoever owns the link decides where it leads; its own mode means nothing.
            found.append(os.stat(directory))
    except OSError:  # connecting tells why
        return False
    owners = {each.st_uid for each in found} - {os.geteuid(), 0}
    mode = stat.S_IMODE(found[-1].st_mode)
    if owners or mode & _OTHERS_WRITE:
        text = (
            f"default endpoint {endpoint}: its directory {directory} is owned by uid "
            f"{min(owners, default=found[-1].st_uid)} with mode {mode:04o}; expected one of uid {os.geteuid()} or root "
            "that others can't write to, since whoever can may answer in the server's place. Nothing was sent. Remove "
            f"it or make it private (chmod 700), or name the endpoint ({ENDPOINT_VARIABLE})"
        )
        raise ConfigError(text)
    return True


def refuse_strangers(endpoint: Endpoint, connection: Connection) -> None:
    """Look again where the directory was made while a connection was waited for; close that if others made it.

    Raises:
        ConfigError: They did.
    """
    try:
        is_private(endpoint)
    except BaseException:
        connection.close()
        raise
