"""More callers at once than a process should have connections: they take turns, and none fails or is forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

import numpy as np
import pytest

import predictd
from predictd.connections.pool import Pool
from predictd.connections.turns import Turns, most_connections, places_taken
from predictd.deadline import Deadline
from predictd.process import this_process
from predictd_proto.messages import CancelRequest, Hello, PredictRequest
from tests.client.fake_server import FakeServer, answer, silent

ROWS = np.ones((2, 4), np.float32)


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a process have three connections."""
    monkeypatch.setattr("predictd.connections.pool.most_connections", lambda: 3)


def slow(request: Any) -> list[Any]:
    time.sleep(0.002)
    return [answer(request)]


def test_the_bound_leaves_most_descriptors_to_the_program() -> None:
    import resource

    assert 1 <= most_connections() * 4 <= resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@pytest.mark.usefixtures("three", "one_attempt")
def test_many_callers_share_a_few_connections(server: FakeServer, endpoint: str) -> None:
    server.replies = [slow]
    client = predictd.Client(endpoint, timeout_ms=60_000)

    def call(number: int) -> bool:
        return bool((client.predict("double", ROWS * number).outputs == 2 * number).all())

    with ThreadPoolExecutor(50) as callers:
        assert all(callers.map(call, range(300)))
    assert 1 <= len(server.of(Hello)) <= 3
    client.close()


def test_places_are_not_given_twice_however_many_seek_one_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("predictd.connections.pool.most_connections", lambda: 3)
    pool = Pool()
    places: list[Any] = []
    most = 0
    together = threading.Barrier(16)

    def seek(_: int) -> None:
        together.wait(30)
        for _ in range(2_000):
            place = pool._seek()
            if place is not None:
                places.append(place)
                nonlocal most
                most = max(most, len(places))
                places.remove(place)
                place.leave()  # type: ignore[union-attr]

    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(seek, range(16)))
    finally:
        sys.setswitchinterval(interval_s)
    assert 1 <= most <= 3


@pytest.mark.usefixtures("three")
def test_a_call_of_one_chunk_takes_its_turn_too(server: FakeServer, endpoint: str) -> None:
    server.replies = [slow]
    model = predictd.RemoteModel("double", endpoint=endpoint, timeout_ms=60_000)
    rows = [[1.0] * 4]  # a list: cut into chunks, of which there is one
    with ThreadPoolExecutor(50) as callers:
        sums = list(callers.map(lambda _: model.predict(rows, verbose=0).sum(), range(100)))
    assert sums == [8.0] * 100
    # An idle one may be closed for another: 3 at once, a few more in all, and not 50.
    assert 1 <= len(server.of(Hello)) <= 20


@pytest.mark.usefixtures("three")
def test_rows_in_chunks_do_not_wait_for_connections_that_wait_for_them(server: FakeServer, endpoint: str) -> None:
    server.replies = [slow]
    model = predictd.RemoteModel("double", endpoint=endpoint, timeout_ms=60_000)
    rows = np.ones((64, 4), np.float32)
    with ThreadPoolExecutor(12) as callers:
        sums = list(callers.map(lambda _: model.predict(rows, batch_size=8, verbose=0).sum(), range(12)))
    assert sums == [512.0] * 12


@pytest.mark.usefixtures("three")
def test_whoever_gets_no_turn_in_time_is_told_why(server: FakeServer, endpoint: str) -> None:
    server.replies = [lambda request: [answer(request)], silent]
    client = predictd.Client(endpoint, timeout_ms=60_000, retries=None)
    client.predict("double", ROWS)
    with ThreadPoolExecutor(3) as callers:
        for _ in range(3):
            callers.submit(_until_told, client, 3_000)
        server.wait_for(Hello, 3)
        with pytest.raises(
            predictd.DeadlineExceededError, match=r"one of this process's 3 connections: calls in progress"
        ):
            client.predict("double", ROWS, timeout_ms=300)
    # Their time-outs made room again.
    server.replies = [lambda request: [answer(request)]]
    assert client.predict("double", ROWS).outputs.sum() == 16
    assert len(server.wait_for(CancelRequest, 3)) == 3
    client.close()


def _until_told(client: predictd.Client, timeout_ms: float) -> None:
    with pytest.raises(predictd.DeadlineExceededError):
        client.predict("double", ROWS, timeout_ms=timeout_ms)


def test_a_turn_given_to_a_caller_who_leaves_goes_to_the_next() -> None:
    turns, pool = Turns(), Pool()
    assert not turns.give(pool, None)
    assert turns.wait(pool, Deadline(1), _nothing) is None
    assert not turns.is_wanted
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.append(turns.wait(pool, Deadline(30_000), _nothing)))
    waiting.start()
    connection: Any = object()
    while not turns.give(pool, connection):
        time.sleep(0.001)
    waiting.join(30)
    assert got == [connection]


def test_a_turn_from_another_pool_is_the_right_to_make_a_connection() -> None:
    turns, connection = Turns(), FakeConnection()
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.append(turns.wait(Pool(), Deadline(30_000), _nothing)))
    waiting.start()
    while not turns.give(Pool(), connection):  # type: ignore[arg-type]
        time.sleep(0.001)
    waiting.join(30)
    assert got == [None]
    assert connection.is_closed


def test_whoever_waits_for_long_comes_before_those_who_ask_at_the_same_endpoint() -> None:
    turns, pools = Turns(), [Pool(), Pool()]
    order: list[int] = []

    def wait(number: int) -> None:
        turns.wait(pools[number], Deadline(30_000), _nothing)
        order.append(number)

    threads = [threading.Thread(target=wait, args=(number,)) for number in (0, 1)]
    for number, thread in enumerate(threads):
        thread.start()
        while len(turns._waiting) <= number:
            time.sleep(0.001)
    while monotonic() - turns._waiting[0].since_s < 0.2:
        time.sleep(0.01)
    for number, thread in enumerate(threads):
        assert turns.give(pools[1], FakeConnection())  # type: ignore[arg-type]
        thread.join(30)
        assert order == [0, 1][: number + 1]


class FakeConnection:
    is_closed = False

    def close(self) -> None:
        self.is_closed = True


def _nothing() -> None:
    return None


@pytest.mark.usefixtures("three")
def test_idle_connections_of_other_clients_keep_nobody_waiting(server: FakeServer, endpoint: str) -> None:
    clients = [predictd.Client(endpoint, timeout_ms=60_000, retries=None) for _ in range(6)]
    for _ in range(3):
        for client in clients:
            assert client.predict("double", ROWS).outputs.sum() == 16
    assert places_taken(this_process()) <= 3
    for client in clients:
        client.close()


@pytest.mark.usefixtures("three")
def test_callers_of_one_client_do_not_starve_those_of_another(server: FakeServer, endpoint: str) -> None:
    server.replies = [slow]
    busy, other = (predictd.Client(endpoint, timeout_ms=60_000) for _ in range(2))
    is_over = threading.Event()

    def keep_asking() -> None:
        while not is_over.is_set():
            busy.predict("double", ROWS)

    with ThreadPoolExecutor(12) as callers:
        asking = [callers.submit(keep_asking) for _ in range(12)]
        try:
            server.wait_for(PredictRequest, 12)
            for _ in range(5):
                other.asking.close()
                assert other.predict("double", ROWS).outputs.sum() == 16
        finally:
            is_over.set()
        for call in asking:
            call.result(60)
    busy.close()
    other.close()


@pytest.mark.usefixtures("three")
def test_connections_of_submit_that_nobody_closes_keep_nobody_waiting(server: FakeServer, endpoint: str) -> None:
    clients = [predictd.Client(endpoint, timeout_ms=60_000, retries=None) for _ in range(6)]
    try:
        for client in clients:
            assert client.submit("double", ROWS).result().outputs.sum() == 16
        for client in clients:
            assert client.predict("double", ROWS).outputs.sum() == 16
        with ThreadPoolExecutor(6) as callers:
            model = predictd.RemoteModel("double", endpoint=endpoint, timeout_ms=60_000)
            rows = np.ones((64, 4), np.float32)
            sums = callers.map(lambda _: model.predict(rows, batch_size=8, verbose=0).sum(), range(6))
            assert list(sums) == [512.0] * 6
    finally:
        for client in clients:
            client.close()


@pytest.mark.usefixtures("three")
def test_async_clients_that_nobody_closes_keep_nobody_waiting(server: FakeServer, endpoint: str) -> None:
    async def ask() -> None:
        clients = [predictd.AsyncClient(endpoint, timeout_ms=60_000, retries=None) for _ in range(6)]
        try:
            for client in clients:
                assert (await client.predict("double", ROWS)).outputs.sum() == 16
        finally:
            for client in clients:
                await client.close()

    asyncio.run(ask())


def test_more_endpoints_than_connections(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("predictd.connections.pool.most_connections", lambda: 1)
    endpoints = [f"ipc://{folder}/{name}.sock" for name in "abc"]
    with contextlib.ExitStack() as stack:
        for each in endpoints:
            stack.enter_context(FakeServer(each, server_id=each))
        client = stack.enter_context(predictd.Client(endpoints, timeout_ms=60_000))
        for _ in range(20):
            assert client.predict("double", ROWS).outputs.sum() == 16
        assert places_taken(this_process()) <= 1
