"""Servers that die, stop, restart or talk nonsense while a request is under way."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import zmq

import predictd
from predictd_proto.frames import encode
from predictd_proto.messages import CancelRequest, ErrorResponse, Hello, PredictRequest, StatusRequest
from tests.client.fake_process import FakeProcess
from tests.client.fake_server import DOUBLE, FakeServer, answer, silent
from tests.client.raw_server import WELCOME, RawServer, receive, send, send_half, shake_hands
from tests.waiting import wait_until

ROWS = np.ones((2, 4), np.float32)
TCP = "tcp://127.0.0.1:28741"


@pytest.fixture(params=["ipc", "tcp"])
def address(request: pytest.FixtureRequest, endpoint: str) -> str:
    return endpoint if request.param == "ipc" else TCP


def once(client: predictd.Client) -> predictd.Prediction:
    return client.predict("double", ROWS)


def test_a_killed_server_is_an_error_that_says_so(address: str) -> None:
    client = predictd.Client(address, retries=None)
    with FakeProcess(address, "--silent") as process, ThreadPoolExecutor() as threads:
        call = threads.submit(once, client)
        process.wait_for("predict")
        process.kill()
        with pytest.raises(predictd.ServerLostError) as caught:
            call.result()
    assert address in str(caught.value)
    assert "went away with the request; whether it ran is unknown" in str(caught.value)
    assert caught.value.detail["was_sent"] is True


def test_after_a_restart_calls_go_on(address: str) -> None:
    client = predictd.Client(address, retries=None)
    for _ in range(2):
        with FakeProcess(address):
            assert once(client).outputs.sum() == 16


def test_a_request_outlives_its_server(endpoint: str) -> None:
    client = predictd.Client(endpoint, timeout_ms=60_000)
    with ThreadPoolExecutor() as threads:
        with FakeProcess(endpoint, "--silent") as process:
            call = threads.submit(once, client)
            process.wait_for("predict")
        with FakeProcess(endpoint) as second:
            second.wait_for("predict")
            assert call.result().outputs.sum() == 16


def test_all_callers_of_a_killed_server_are_told(endpoint: str) -> None:
    client = predictd.Client(endpoint, retries=None)
    with FakeProcess(endpoint, "--silent") as process, ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(once, client) for _ in range(8)]
        for _ in calls:
            process.wait_for("predict")
        process.kill()
        assert {type(call.exception()) for call in calls} == {predictd.ServerLostError}


def test_a_stopped_server_is_a_time_out_that_says_so(endpoint: str) -> None:
    client = predictd.Client(endpoint, timeout_ms=300)
    with FakeProcess(endpoint) as process:
        client.predict("double", ROWS, timeout_ms=30_000)
        process.stop()
        with pytest.raises(predictd.DeadlineExceededError) as caught:
            once(client)
        assert "model 'double' at ipc://" in str(caught.value)
        assert "connected, but no answer came: the server is busy, stuck or stopped" in str(caught.value)
        process.resume()
        assert client.predict("double", ROWS, timeout_ms=30_000).outputs.sum() == 16


def test_a_timed_out_request_is_cancelled_and_its_connection_left(server: FakeServer, endpoint: str) -> None:
    server.replies = [lambda request: [answer(request)], silent, lambda request: [answer(request)]]
    client = predictd.Client(endpoint)
    once(client)  # connected: what follows is sent at once
    with pytest.raises(predictd.DeadlineExceededError):
        client.predict("double", ROWS, timeout_ms=300)
    (cancelled,) = server.wait_for(CancelRequest)
    assert cancelled.id == server.of(PredictRequest)[1].id
    once(client)
    assert len(server.of(Hello)) == 2


def test_a_late_answer_never_reaches_the_next_call(server: FakeServer, endpoint: str) -> None:
    late: list[PredictRequest] = []

    def keep(request: PredictRequest) -> list[Any]:
        late.append(request)
        return []

    server.replies = [lambda request: [answer(request)], keep, lambda request: [answer(late[0]), answer(request)]]
    client = predictd.Client(endpoint)
    assert once(client).outputs.sum() == 16  # connected: the time below is the answer's alone
    with pytest.raises(predictd.DeadlineExceededError):
        client.predict("double", ROWS * 50, timeout_ms=500)
    assert once(client).outputs.sum() == 16


def test_answers_with_another_id_are_discarded(server: FakeServer, client: predictd.Client) -> None:
    def stale_first(request: PredictRequest) -> list[Any]:
        wrong = replace(answer(request), id=request.id + 100)
        return [wrong, ErrorResponse(id=request.id + 7, code="internal", message="not yours"), answer(request)]

    server.replies = [stale_first]
    assert once(client).outputs.sum() == 16


def test_an_error_without_an_id_is_about_the_request_under_way(server: FakeServer, client: predictd.Client) -> None:
    server.replies = [lambda request: [ErrorResponse(id=None, code="malformed", message="can't read it")]]
    with pytest.raises(predictd.RemoteProtocolError, match="can't read it"):
        once(client)


@pytest.mark.parametrize(
    "garbage",
    [
        [b"garbage"],
        [b"pd\x01\x04\xff"],
        [b"pd\x01\x04\x80"],
        [b"pd\x01\x63\x80"],
        [b"", b"", b""],
        encode(StatusRequest(id=1)),
    ],
    ids=["text", "no msgpack", "no fields", "unknown type", "empty frames", "a question"],
)
def test_garbage_in_place_of_an_answer(server: FakeServer, client: predictd.Client, garbage: list[bytes]) -> None:
    server.replies = [lambda request: [list(garbage)], lambda request: [answer(request)]]
    with pytest.raises(predictd.RemoteProtocolError, match="server at ipc://"):
        once(client)
    assert once(client).outputs.sum() == 16
    assert len(server.of(Hello)) == 2


def test_a_server_that_dies_in_mid_reply_is_lost(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def treat(connection: socket.socket) -> None:
        shake_hands(connection)
        assert isinstance(receive(connection), Hello)
        send(connection, WELCOME)
        assert isinstance(receive(connection), PredictRequest)
        send_half(connection, 1 << 20)

    monkeypatch.setattr("predictd.requests.link.Link.models", lambda *_: (DOUBLE,))
    with (
        RawServer(endpoint.removeprefix("ipc://"), treat),
        pytest.raises(predictd.ServerLostError, match="went away with the request"),
    ):
        once(predictd.Client(endpoint, retries=None))


def test_a_restarted_server_with_another_model_is_asked_anew(endpoint: str) -> None:
    client = predictd.Client(endpoint, retries=None)
    with FakeServer(endpoint, server_id="first") as first:
        assert [once(client).receipt.version for _ in range(3)] == [1, 1, 1]
        assert len(first.asked) == 2  # a handshake and the signature, once
        assert client.metadata("double").version == 1
    with FakeServer(endpoint, server_id="second") as second:
        second.models = [replace(second.models[0], version=5)]
        second.replies = [lambda request: [answer(request, version=5)]]
        assert client.metadata("double").version == 5
        assert once(client).receipt.version == 5


def test_connections_to_a_server_that_is_gone_are_closed_at_the_next_call(endpoint: str) -> None:
    client = predictd.Client(endpoint, retries=None)
    together = threading.Barrier(4)

    def wait(request: PredictRequest) -> list[Any]:
        return [answer(request)]

    with FakeServer(endpoint, server_id="first") as first, ThreadPoolExecutor(4) as threads:
        first.replies = [wait]
        list(threads.map(lambda _: (together.wait(30), once(client)), range(4)))
    idle = list(client.asking.routes.links[0].pool._idle)
    assert idle
    # That a server is gone shows when ZeroMQ's own thread has seen it; a request sent before that is lost with it.
    wait_until(lambda: not any(connection.is_connected for connection in idle))
    with FakeServer(endpoint, server_id="second"):
        once(client)
        assert len(client.asking.routes.links[0].pool) == 1


def test_a_server_that_goes_before_anything_was_sent_has_lost_nothing(endpoint: str) -> None:
    client = predictd.Client(endpoint, retries=None)
    with FakeServer(endpoint):
        once(client)
    with pytest.raises(predictd.ServerUnavailableError, match=r"no such socket file|left over"):
        predictd.Client(endpoint, connect_timeout_ms=100, retries=None).predict("double", ROWS)
    with FakeServer(endpoint):
        assert once(client).outputs.sum() == 16


def test_too_many_open_files_is_told_as_such(
    monkeypatch: pytest.MonkeyPatch, server: FakeServer, endpoint: str
) -> None:
    contexts: dict[Any, zmq.Context] = {}
    monkeypatch.setattr("predictd.connections.transport._contexts", contexts)
    monkeypatch.setattr("predictd.connections.transport.MAX_SOCKETS", 1)
    client = predictd.Client(endpoint, retries=None)
    with pytest.raises(predictd.TransportError, match=r"can't open a socket: Too many open files.*ulimit"):
        once(client)
    client.close()
    for context in contexts.values():
        context.term()
