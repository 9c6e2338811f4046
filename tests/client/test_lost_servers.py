"""A server that dies shows on its connections one after the other: no request is lost to it twice.

Which connection shows it when is the system's affair, so here the order is made: the connections of the doomed server
look alive until a request was sent on them.
"""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

import predictd
from predictd.connections.transport import Connection, ConnectionLost
from tests.client.fake_server import FakeServer, answer

ROWS = np.ones((1, 4), np.float32)


class Doom:
    """Loses every connection made so far, each when the answer to a request sent since then is waited for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[Connection] = []
        self.doomed: list[Connection] = []
        self.losses = 0
        connect = Connection.__init__
        is_connected = Connection.is_connected.fget  # type: ignore[attr-defined]
        send = Connection.send
        used: list[Connection] = []

        def make(connection: Connection, address: str) -> None:
            connect(connection, address)
            if not address.endswith(".control"):
                self.made.append(connection)

        def use(connection: Connection, *arguments: Any) -> None:
            if any(connection is other for other in self.doomed):
                used.append(connection)
            send(connection, *arguments)

        def is_lost(connection: Connection) -> bool:
            return any(connection is other for other in used)

        def wait(connection: Connection, *arguments: Any, how: Any) -> Any:
            if is_lost(connection):
                self.losses += 1
                raise ConnectionLost
            return how(connection, *arguments)

        def looks_connected(connection: Connection) -> bool:
            return not is_lost(connection) and is_connected(connection)

        for name in ("receive", "receive_ready"):
            how = getattr(Connection, name)
            monkeypatch.setattr(Connection, name, lambda *arguments, how=how: wait(*arguments, how=how))
        monkeypatch.setattr(Connection, "__init__", make)
        monkeypatch.setattr(Connection, "send", use)
        monkeypatch.setattr(Connection, "is_connected", property(looks_connected))

    def strike(self) -> None:
        self.doomed = list(self.made)


@pytest.fixture
def doom(monkeypatch: pytest.MonkeyPatch) -> Doom:
    return Doom(monkeypatch)


def test_idle_connections_go_with_the_one_that_was_lost(server: FakeServer, endpoint: str, doom: Doom) -> None:
    client = predictd.Client(endpoint, timeout_ms=30_000)
    calls = [client.asking.begin(*_question(client), is_alone=False) for _ in range(3)]
    for call in calls:
        call.finish()
    assert len(doom.made) == 3
    doom.strike()
    assert client.predict("double", ROWS).outputs.sum() == 8
    assert doom.losses == 1
    client.close()


def test_channels_go_with_the_one_that_was_lost(server: FakeServer, endpoint: str, doom: Doom) -> None:
    server.replies = [lambda request: [answer(request)]]

    async def run() -> None:
        async with predictd.AsyncClient(endpoint, timeout_ms=30_000) as client:
            await asyncio.gather(*(client.predict("double", ROWS) for _ in range(300)))
            assert len(doom.made) > 1
            doom.strike()
            again = await asyncio.gather(*(client.predict("double", ROWS * n) for n in range(10)))
            assert [prediction.outputs.sum() for prediction in again] == [8.0 * n for n in range(10)]
            assert doom.losses == 1

    asyncio.run(run())


def _question(client: predictd.Client) -> tuple[Any, Any]:
    from predictd.requests.request_frames import Question

    return Question("double", ROWS), client.asking.deadline(None)
