"""The lock on an ipc endpoint: one server per socket path.

Owns the lock file, the private directory and the removal of stale socket files. libzmq itself would let a second server
take over a live path without a word to the first. Main thread, before anything is bound and after all is closed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
from pathlib import Path

from predictd_proto.endpoints import Endpoint
from predictd_proto.errors import ConfigError

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class EndpointLock:
    """Holds an ipc endpoint for this process; does nothing for tcp, whose ports are exclusive by themselves.

    Args:
        endpoint: Where the server will listen.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock, make the directory private, remove stale socket files.

        Raises:
            ConfigError: Another server holds the endpoint, or its directory is not safe or can't be written.
        """
        if self._endpoint.path is None or self._endpoint.control_path is None:
            return
        path = Path(self._endpoint.path)
        try:
            _make_private(path.parent)
            self._file = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            self._lock(path)
            for socket_file in (path, Path(self._endpoint.control_path)):
                _remove_stale(socket_file)
        except OSError as error:
            text = (
                f"endpoint {self._endpoint}: can't use {error.filename or path.parent}: {error.strerror}; "
                "choose another place with --endpoint or PREDICTD_ENDPOINT"
            )
            raise ConfigError(text) from error

    def release(self) -> None:
        """Remove the socket files and let the endpoint go."""
        if self._file is None or self._endpoint.path is None or self._endpoint.control_path is None:
            return
        for name in (self._endpoint.path, self._endpoint.control_path):
            with contextlib.suppress(OSError):
                os.unlink(name)
        # The lock file stays: removing it would let a third server lock a new file while a second holds the old one.
        # In this order: a second signal may call this while it runs.
        file, self._file = self._file, None
        os.close(file)

    def _lock(self, path: Path) -> None:
        assert self._file is not None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._file, 32, 0).decode(errors="replace").strip() or "unknown"
            text = (
                f"endpoint {self._endpoint}: already served by process {owner}; stop that one, or give this one "
                "another endpoint with --endpoint or PREDICTD_ENDPOINT"
            )
            raise ConfigError(text) from None
        if _is_listening(path):
            text = f"endpoint {self._endpoint}: another program listens there; choose another one with --endpoint"
            raise ConfigError(text)
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)


def _make_private(directory: Path) -> None:
    """Make the directory for the owner alone; one that others may replace files in is refused."""
    if not directory.exists():
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.stat()
    is_sticky = bool(found.st_mode & stat.S_ISVTX)
    if found.st_uid not in (os.geteuid(), 0) or (found.st_mode & _OTHERS_WRITE and not is_sticky):
        text = (
            f"directory {directory}: owned by uid {found.st_uid} with mode {stat.S_IMODE(found.st_mode):04o}; expected "
            f"one of uid {os.geteuid()} that others can't write to. Make it private (chmod 700), or choose another "
            "endpoint"
        )
        raise ConfigError(text)


def _is_listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        text = f"{path}: exists and is no socket; move it away or choose another endpoint"
        raise ConfigError(text)
    path.unlink()
