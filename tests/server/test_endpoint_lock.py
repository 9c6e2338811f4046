"""The endpoint's lock: one server per path, a private directory, stale files replaced."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from predictd_proto.endpoints import Endpoint
from predictd_proto.errors import ConfigError
from predictd_server.sockets.endpoint_lock import EndpointLock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "p.sock"


def lock_of(path: Path) -> EndpointLock:
    return EndpointLock(Endpoint.parse(f"ipc://{path}"))


def test_the_directory_is_made_private(path: Path) -> None:
    lock = lock_of(path)
    lock.acquire()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE((path.parent / "p.sock.lock").stat().st_mode) == 0o600
    lock.release()


def test_a_second_server_is_refused_and_told_who_serves(path: Path) -> None:
    first, second = lock_of(path), lock_of(path)
    first.acquire()
    with pytest.raises(ConfigError, match=f"already served by process {os.getpid()}"):
        second.acquire()
    first.release()
    lock_of(path).acquire()


def test_stale_socket_files_are_removed(path: Path) -> None:
    path.parent.mkdir()
    for name in (path, f"{path}.control"):
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(name))
    lock_of(path).acquire()
    assert not path.exists()


def test_a_live_stranger_on_the_path_is_refused(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(str(path))
        stranger.listen()
        with pytest.raises(ConfigError, match="another program listens there"):
            lock_of(path).acquire()
    assert path.exists()


def test_a_file_that_is_no_socket_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("precious")
    with pytest.raises(ConfigError, match="exists and is no socket"):
        lock_of(path).acquire()
    assert path.read_text() == "precious"


def test_a_directory_that_others_can_write_to_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="Make it private"):
        lock_of(path).acquire()


def test_a_directory_that_cannot_be_made_names_itself_and_the_way_out(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(ConfigError, match=r"choose another place with --endpoint"):
        lock_of(blocker / "p.sock").acquire()


def test_tcp_needs_no_lock() -> None:
    lock = EndpointLock(Endpoint.parse("tcp://127.0.0.1:5555"))
    lock.acquire()
    lock.release()
