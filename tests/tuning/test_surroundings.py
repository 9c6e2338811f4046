"""What is said of the machine before it is measured."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from predictd_proto.endpoints import Endpoint
from predictd_proto.errors import ConfigError
from predictd_server.tuning import surroundings


def test_a_daemon_is_told_of_as_long_as_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (0.1, 0.0, 0.0))
    endpoint = Endpoint.parse(f"ipc://{tmp_path}/p.sock")
    assert surroundings.disturbances(endpoint, 2) == []
    with (tmp_path / "p.sock.lock").open("w") as lock:
        lock.write("123\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        [said] = surroundings.disturbances(endpoint, 2)
        assert said.startswith(f"a daemon (process 123) serves {endpoint}: ")
    assert surroundings.disturbances(endpoint, 2) == []
    assert surroundings.disturbances(Endpoint.parse("tcp://127.0.0.1:5555"), 2) == []


def test_a_busy_machine_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (3.9, 0.0, 0.0))
    [said] = surroundings.disturbances(Endpoint.parse(f"ipc://{tmp_path}/p.sock"), 2)
    assert said == "the load average is 3.9 on 2 CPUs: expect more noise"


def test_too_little_memory_is_told_before_it_is_taken(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  8 kB\nMemAvailable:    1048576 kB\n")
    available = surroundings.available_bytes(meminfo)
    assert available == 1 << 30
    surroundings.check_memory(1 << 30, available, "it")
    surroundings.check_memory(1 << 40, None, "it")
    with pytest.raises(ConfigError, match="it needs about 2048 MiB of memory, and 1024 MiB are available"):
        surroundings.check_memory(2 << 30, available, "it")


@pytest.mark.parametrize("text", ["", "MemTotal: 1 kB", "MemAvailable:", "MemAvailable: many kB"])
def test_a_system_that_does_not_tell(text: str, tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text(text)
    assert surroundings.available_bytes(tmp_path / "meminfo") is None
    assert surroundings.available_bytes(tmp_path / "none") is None
