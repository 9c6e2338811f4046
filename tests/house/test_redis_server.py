"""Which Redis server is taken, and where the broker listens."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from scripts import redis_server


@pytest.mark.parametrize(
    ("broker_url", "arguments"),
    [
        ("redis://127.0.0.1:6379/0", ["--bind", "127.0.0.1", "--port", "6379"]),
        ("redis://localhost", ["--bind", "127.0.0.1", "--port", "6379"]),
        ("redis://[::1]:7000/1", ["--bind", "::1", "--port", "7000"]),
        (
            "redis://:pass%20word@127.0.0.1:7001",
            ["--bind", "127.0.0.1", "--port", "7001", "--requirepass", "pass word"],
        ),
        (
            "redis+socket:///tmp/broker.sock?virtual_host=1",
            ["--port", "0", "--unixsocket", "/tmp/broker.sock", "--unixsocketperm", "700"],
        ),
    ],
)
def test_the_broker_listens_where_its_url_says(broker_url: str, arguments: list[str]) -> None:
    assert redis_server.listening_arguments(broker_url) == arguments


@pytest.mark.parametrize(
    "broker_url",
    ["redis://broker.example:6379/0", "rediss://127.0.0.1:6379/0", "amqp://127.0.0.1", "memory://"],
)
def test_somebody_elses_broker_is_not_started(broker_url: str) -> None:
    assert redis_server.listening_arguments(broker_url) is None


def test_the_server_on_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = tmp_path / "redis-server"
    server.write_text("#!/bin/sh\n", encoding="utf-8")
    server.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert redis_server.find_redis_server() == server


def test_a_package_brings_one_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert redis_server.find_redis_server().name == "redis-server"


def test_none_at_all_is_said_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(redis_server, "PACKAGED", {"no_such_package": "bin/redis-server"})
    with pytest.raises(FileNotFoundError, match="apt-get install redis-server"):
        redis_server.find_redis_server()


def test_a_taken_address_is_noticed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        arguments = ["--bind", "127.0.0.1", "--port", str(port)]
        assert redis_server.is_listening(arguments)
    assert not redis_server.is_listening(arguments)
