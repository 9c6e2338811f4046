"""More callers at once than a process should have connections: they take turns, and none fails or is forgotten."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import predictd
from predictd.connections.turns import Turns, most_connections
from predictd.deadline import Deadline
from predictd_proto.messages import CancelRequest, Hello
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


@pytest.mark.usefixtures("three")
def test_many_callers_share_a_few_connections(server: FakeServer, endpoint: str) -> None:
    server.replies = [slow]
    client = predictd.Client(endpoint, timeout_ms=60_000)

    def call(number: int) -> bool:
        return bool((client.predict("double", ROWS * number).outputs == 2 * number).all())

    with ThreadPoolExecutor(50) as callers:
        assert all(callers.map(call, range(300)))
    assert 1 <= len(server.of(Hello)) <= 3
    client.close()


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
        with pytest.raises(predictd.DeadlineExceededError, match=r"one of this process's \d+ connections"):
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
    turns = Turns()
    assert not turns.give(None)
    gone = Deadline(1)
    assert turns.wait(gone) is None
    assert not turns.is_wanted
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.append(_wait_long(turns)))
    waiting.start()
    connection: Any = object()
    while not turns.give(connection):
        time.sleep(0.001)
    waiting.join(30)
    assert got == [connection]


def _wait_long(turns: Turns) -> Any:
    deadline = Deadline(30_000)
    while not deadline.is_over:
        found = turns.wait(deadline)
        if found is not None:
            return found
    return None
