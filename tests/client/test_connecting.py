"""Endpoints where no predictd answers: each is told by name, with the wait and the likely cause, and in time."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zmq

import predictd
from predictd.connections.transport import Connection
from predictd_proto.frames import encode
from predictd_proto.messages import ErrorResponse, Hello, StatusRequest, Welcome
from tests.client.fake_process import FakeProcess, run_program
from tests.client.fake_server import FakeServer
from tests.client.raw_server import GREETING, RawServer, receive, send, shake_hands

ROWS = np.ones((1, 4), np.float32)


def unavailable(endpoint: str, *, connect_timeout_ms: float = 150) -> str:
    client = predictd.Client(endpoint, connect_timeout_ms=connect_timeout_ms)
    with pytest.raises(predictd.ServerUnavailableError) as caught:
        client.predict("double", ROWS)
    assert endpoint in str(caught.value)
    assert "within" in str(caught.value)
    assert caught.value.is_retryable
    return str(caught.value)


def path_of(endpoint: str) -> str:
    return endpoint.removeprefix("ipc://")


def test_no_socket_file(endpoint: str) -> None:
    assert "no such socket file: is `predictd serve` running" in unavailable(endpoint)


def test_a_moment_without_descriptors_is_waited_out(
    server: FakeServer, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    del server
    refusals = ["the first", "the second", "the third"]

    def opened(address: str) -> Connection:
        if refusals:
            raise predictd.TransportError(refusals.pop())
        return Connection(address)

    monkeypatch.setattr("predictd.connections.connecting.open_connection", opened)
    with predictd.Client(endpoint) as client:
        assert client.predict("double", ROWS).outputs.sum() == 8
    assert not refusals


def test_no_directory(folder: str) -> None:
    assert f"its directory {folder}/none does not exist" in unavailable(f"ipc://{folder}/none/d.sock")


def test_a_file_that_is_no_socket(endpoint: str) -> None:
    Path(path_of(endpoint)).write_text("text")
    assert "is no socket: correct the endpoint" in unavailable(endpoint)


def test_a_socket_file_left_over(endpoint: str) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path_of(endpoint))
    assert stat.S_ISSOCK(os.stat(path_of(endpoint)).st_mode)
    assert "left over from a server that is gone" in unavailable(endpoint)


def test_a_socket_of_somebody_else(server: FakeServer, endpoint: str) -> None:
    os.chmod(path_of(endpoint), 0)
    ran = run_program(
        "import os, sys, numpy, predictd, predictd.connections.probe\n"
        "if os.getuid() == 0: os.seteuid(65534)\n"
        "client = predictd.Client(sys.argv[1], connect_timeout_ms=150)\n"
        "try: client.predict('m', numpy.ones((1, 4)))\n"
        "except predictd.ServerUnavailableError as error: print(error)",
        endpoint,
    )
    assert f"no permission to connect to {path_of(endpoint)}" in ran.stdout, ran.stderr


def test_a_port_where_nothing_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert "nothing listens on that port" in unavailable(f"tcp://127.0.0.1:{free.getsockname()[1]}")


def test_a_host_that_does_not_exist() -> None:
    said = unavailable("tcp://no-such-host.invalid:5555", connect_timeout_ms=1_500)  # resolvers take their time
    assert "the host name 'no-such-host.invalid' is unknown" in said


def silence(connection: socket.socket) -> None:
    connection.recv(1 << 20)
    connection.recv(1 << 20)


def web_server(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def keys_wanted(connection: socket.socket) -> None:
    connection.sendall(GREETING.replace(b"NULL" + bytes(16), b"CURVE" + bytes(15)))
    silence(connection)


def slammed_door(connection: socket.socket) -> None:
    del connection


@pytest.mark.parametrize(
    ("treat", "said"),
    [
        (silence, "accepted, then silence: the server is stopped, or it is not predictd"),
        (web_server, "something else than predictd listens there: it says b'HTTP/1.1"),
        (keys_wanted, "the server asks for CURVE keys"),
        (slammed_door, "predictd"),
    ],
)
def test_something_else_listens(endpoint: str, treat: Callable[[socket.socket], None], said: str) -> None:
    with RawServer(path_of(endpoint), treat):
        assert said in unavailable(endpoint, connect_timeout_ms=1000)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (zmq.PUB, "a ZeroMQ PUB socket listens there: it is not predictd"),
        (zmq.PULL, "a ZeroMQ PULL socket listens there"),
        (zmq.ROUTER, "a ZeroMQ socket listens there, but nothing answers behind it"),
    ],
)
def test_another_kind_of_zeromq_socket_listens(endpoint: str, kind: int, said: str) -> None:
    with zmq.Context() as context, context.socket(kind) as other:
        other.linger = 0
        other.bind(endpoint)
        assert said in unavailable(endpoint, connect_timeout_ms=1000)


def test_a_stopped_server_that_was_never_reached(endpoint: str) -> None:
    with FakeProcess(endpoint) as process:
        process.stop()
        assert "silence: the server is stopped" in unavailable(endpoint, connect_timeout_ms=1000)


def test_a_calls_own_deadline_is_a_time_out_where_somebody_listens(endpoint: str) -> None:
    with RawServer(path_of(endpoint), silence):
        client = predictd.Client(endpoint, timeout_ms=300, connect_timeout_ms=60_000)
        with pytest.raises(predictd.DeadlineExceededError, match="time-out while connecting; no predictd") as caught:
            client.predict("double", ROWS)
    assert caught.value.detail["state"] == "connecting"
    assert isinstance(caught.value, TimeoutError)


def test_a_server_that_comes_up_meanwhile_is_found(endpoint: str) -> None:
    client = predictd.Client(endpoint, connect_timeout_ms=30_000)
    server = FakeServer(endpoint)
    looked: list[object] = []

    # The client's first look finds nothing; it starts the server and looks again.
    def is_listening(address: str, deadline: object) -> bool:
        looked.append(address)
        if len(looked) == 1:
            return False
        server.__enter__()
        return True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("predictd.connections.probe.is_listening", is_listening)
        assert client.status().is_ready
    assert len(looked) == 2
    server.stop()


def test_a_newer_server_says_that_the_client_is_older(server: FakeServer, endpoint: str) -> None:
    def too_new(hello: Hello) -> ErrorResponse:
        return ErrorResponse(
            id=None, code="protocol_version", message="the client is older: ...", detail={"older": "client"}
        )

    server.welcome = too_new
    with pytest.raises(predictd.ProtocolVersionError, match=r"server at ipc://.*: the client is older") as caught:
        predictd.Client(endpoint).predict("double", ROWS)
    assert caught.value.detail == {"older": "client"}


@pytest.mark.parametrize(("version", "older"), [(0, "server"), (2, "client")])
def test_a_server_that_chose_another_version_is_refused(
    server: FakeServer, endpoint: str, version: int, older: str
) -> None:
    server.welcome = lambda hello: Welcome(version=version, server_id="x", server="9", state="ready")
    with pytest.raises(predictd.ProtocolVersionError, match=f"the {older} is older"):
        predictd.Client(endpoint).predict("double", ROWS)


def test_a_message_of_a_later_protocol_is_told_as_such(server: FakeServer, endpoint: str) -> None:
    later = [b"pd\x09\x04" + bytes(encode(StatusRequest(id=1))[0][4:])]
    server.welcome = lambda hello: later
    with pytest.raises(predictd.ProtocolVersionError, match="message of protocol 9"):
        predictd.Client(endpoint).predict("double", ROWS)


@pytest.mark.parametrize(
    "garbage", [[b"garbage"], [b""], [b"pd\x01\x02\xff\xff"], [b"pd\x01\x63\x80"], [b"pd\x01\x02\x80"]]
)
def test_garbage_in_place_of_a_welcome(server: FakeServer, endpoint: str, garbage: list[bytes]) -> None:
    server.welcome = lambda hello: garbage
    with pytest.raises(predictd.RemoteProtocolError, match="server at ipc://"):
        predictd.Client(endpoint).predict("double", ROWS)


def test_an_answer_that_is_no_welcome(server: FakeServer, endpoint: str) -> None:
    server.welcome = lambda hello: StatusRequest(id=1)
    with pytest.raises(predictd.RemoteProtocolError, match="expected a Welcome, got a StatusRequest"):
        predictd.Client(endpoint).predict("double", ROWS)


def test_a_server_that_dies_while_shaking_hands_is_tried_again(endpoint: str) -> None:
    attempts: list[int] = []

    def treat(connection: socket.socket) -> None:
        shake_hands(connection)
        message = receive(connection)
        attempts.append(len(attempts))
        if len(attempts) > 1:
            send(connection, Welcome(version=1, server_id="raw", server="0", state="ready"))
            receive(connection)
        assert isinstance(message, Hello)

    with RawServer(path_of(endpoint), treat), pytest.raises(predictd.ServerUnavailableError):
        predictd.Client(endpoint, connect_timeout_ms=2000, retries=None).predict("double", ROWS)
    assert len(attempts) >= 2


def test_a_silent_control_socket_is_a_time_out(server: FakeServer, endpoint: str) -> None:
    server.control_is_silent = True
    with pytest.raises(predictd.DeadlineExceededError, match=r"no answer to a StatusRequest .* is silent"):
        predictd.Client(endpoint, timeout_ms=200).status()
