"""One client, many threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

import predictd
from predictd.deadline import Deadline
from predictd_proto.messages import Hello, PredictRequest
from tests.client.fake_server import FakeServer

CALLERS, CALLS = 32, 25


@pytest.mark.usefixtures("one_attempt")
def test_every_thread_gets_its_own_answers(server: FakeServer, client: predictd.Client) -> None:
    together = threading.Barrier(CALLERS)

    def call(caller: int) -> bool:
        together.wait(30)
        rows = [np.full((1 + caller % 3, 4), caller * 1000 + n, np.float32) for n in range(CALLS)]
        return all((client.predict("double", x).outputs == x * 2).all() for x in rows)

    with ThreadPoolExecutor(CALLERS) as threads:
        assert all(threads.map(call, range(CALLERS)))
    assert len(server.of(PredictRequest)) == CALLERS * CALLS
    assert len(server.of(Hello)) <= CALLERS
    assert len(client.asking.routes.links[0].pool) == len(server.of(Hello))


def test_idle_connections_are_bounded(
    server: FakeServer, client: predictd.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("predictd.connections.pool.MOST_IDLE", 2)
    together = threading.Barrier(8)
    rows = np.ones((1, 4), np.float32)

    def call(_: int) -> None:
        together.wait(30)
        client.predict("double", rows)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(call, range(8)))
    assert len(client.asking.routes.links[0].pool) <= 2


def test_whoever_greets_a_new_server_late_closes_only_connections_to_the_old_one(
    server: FakeServer, client: predictd.Client
) -> None:
    link = client.asking.routes.links[0]
    pool = link.pool
    old, *new = [link.connect(pool, Deadline(20_000), "double") for _ in range(3)]
    old.greeting = replace(old.greeting, server_id="old")
    pool.server_id = "old"
    pool._idle.extend([new[0], old])  # as another thread leaves them that has greeted the new server already
    pool.welcome(new[1])
    assert [pool.take(), pool.take()] == [new[0], None]
    assert new[0].is_connected
    for connection in new:
        connection.close()


@pytest.mark.parametrize("way", ["predict", "submit"])
def test_closing_while_others_call_harms_nobody(server: FakeServer, client: predictd.Client, way: str) -> None:
    stop = threading.Event()
    rows = np.ones((1, 4), np.float32)
    ask = client.predict if way == "predict" else lambda *asked: client.submit(*asked).result()

    def call() -> int:
        count = 0
        while not stop.is_set():
            assert ask("double", rows).outputs.sum() == 8
            count += 1
        return count

    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(call) for _ in range(4)]
        server.wait_for(PredictRequest, 50)
        for _ in range(50):
            client.close()
        stop.set()
        assert all(done.result() > 0 for done in calls)
