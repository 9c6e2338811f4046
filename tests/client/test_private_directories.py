"""The default endpoint's directory: one where others may have put a server is refused before anything is sent."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import predictd
from predictd.connections.connecting import connect
from predictd.connections.transport import Connection
from predictd_proto.messages import Hello
from tests.client.fake_server import FakeServer

ROWS = np.ones((2, 4), np.float32)


@pytest.fixture
def place(folder: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the default endpoint's directory, which isn't there yet."""
    for name in ("PREDICTD_ENDPOINT", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", folder)
    return Path(folder, f"predictd-{os.getuid()}")


def made(place: Path, mode: int = 0o700) -> str:
    place.mkdir()
    place.chmod(mode)
    return f"ipc://{place}/predictd.sock"


def ask(endpoint: str | None = None) -> float:
    with predictd.Client(endpoint, timeout_ms=20_000, connect_timeout_ms=20_000, retries=None) as client:
        return float(client.predict("double", ROWS).outputs.sum())


def test_a_private_one_is_used(place: Path) -> None:
    with FakeServer(made(place)):
        assert ask() == 16


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_one_that_others_can_write_to_is_refused_unless_it_is_named(
    place: Path, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = made(place, mode)
    with FakeServer(endpoint) as server:
        with pytest.raises(predictd.ConfigError, match=rf"mode {mode:04o}; expected .* Nothing was sent. Remove it"):
            ask()
        with pytest.raises(predictd.ConfigError, match="default endpoint"), predictd.Client() as client:
            client.submit("double", ROWS).result(60)
        assert not server.of(Hello)
        assert not server.asked
        assert ask(endpoint) == 16
        monkeypatch.setenv("PREDICTD_ENDPOINT", endpoint)
        assert ask() == 16


def test_one_of_another_user_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeServer(made(place)):
        uid = os.geteuid()
        if uid == 0:
            os.chown(place, 12345, 12345)
            uid = 12345
        else:
            monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
        with pytest.raises(predictd.ConfigError, match=rf"owned by uid {uid} with mode 0700"):
            ask()


def test_a_link_is_judged_by_where_it_leads(place: Path) -> None:
    real = place.with_name("real")
    endpoint = made(real)
    place.symlink_to(real)
    with FakeServer(endpoint):
        assert ask() == 16
        real.chmod(0o777)
        with pytest.raises(predictd.ConfigError, match="mode 0777"):
            ask()


def test_one_that_is_made_while_it_is_waited_for_is_looked_at_too(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    servers: list[FakeServer] = []

    def late(address: str, **options: Any) -> Connection:
        if not servers:
            servers.append(FakeServer(made(place, 0o777)))
            servers[0].__enter__()
        return connect(address, **options)

    monkeypatch.setattr("predictd.requests.link.connect", late)
    try:
        with pytest.raises(predictd.ConfigError, match="mode 0777"):
            ask()
    finally:
        servers[0].stop()
