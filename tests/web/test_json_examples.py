"""The FastAPI and the Flask example under real servers: answers, wrong questions, and a daemon that is away or slow."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import predictd
from predictd.testing import FakeProcess, new_endpoint
from tests.daemon_process import short_directory
from tests.pools.program import python
from tests.web.fake_digits import DIGITS
from tests.web.web_server import Reply, WebServer

pytestmark = [pytest.mark.integration]

BLANK = [[0.0] * 8] * 8


SERVERS: dict[str, Callable[[int], list[str]]] = {
    "fastapi": lambda port: python("-m", "uvicorn", "examples.fastapi_digits:app", "--port", str(port)),
    "flask": lambda port: python(
        *("-m", "gunicorn", "examples.flask_digits:app", "--preload", "--workers", "2", "--no-control-socket"),
        *("--bind", f"127.0.0.1:{port}"),
    ),
}


@pytest.fixture(scope="module")
def daemon() -> Iterator[FakeProcess]:
    with FakeProcess(DIGITS, endpoint=new_endpoint()) as process:
        yield process


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, daemon: FakeProcess) -> Iterator[WebServer]:
    with short_directory() as name:
        program = WebServer(SERVERS[request.param], Path(name), PREDICTD_ENDPOINT=daemon.endpoint)
        yield program
        program.stop()


def ask(server: WebServer, question: Any, **headers: str) -> Reply:
    body = question if isinstance(question, bytes) else json.dumps(question).encode()
    return server.ask("/digits", body, **{"Content_Type": "application/json", **headers})


def test_the_answer_is_the_model_s(server: WebServer) -> None:
    image = [list(row) for row in BLANK]
    image[0][7] = 1.0
    reply = ask(server, {"image": image})
    assert reply.status == 200, server.log
    assert reply.json == {"digit": 7, "scores": [0.0] * 7 + [1.0, 0.0, 0.0], "version": 1}


@pytest.mark.parametrize(
    ("question", "status"),
    [
        ({"image": BLANK[:7]}, 422),
        ({"image": [*BLANK[:7], [0.0] * 9]}, 422),
        ({"image": [BLANK]}, 422),
        ({"image": [*BLANK[:7], ["x"] * 8]}, 422),
        ({"image": [*BLANK[:7], [None] * 8]}, 422),
        ({"image": [*BLANK[:7], [1.5] * 8]}, 422),
        ({"image": [*BLANK[:7], [10**400] * 8]}, 422),
        ({"image": "seven"}, 422),
        ({"picture": BLANK}, 422),
        ([BLANK], 422),
        (7, 422),
        (json.dumps({"image": [*BLANK[:7], [float("nan")] * 8]}).encode(), 422),
        (json.dumps({"image": [*BLANK[:7], [float("inf")] * 8]}).encode(), 422),
        (b"{", 4),
        (b"", 4),
        (b"\xff\xfe", 4),
        (b"[" * 10_000, 4),
        (json.dumps({"image": BLANK, "more": "x" * 20_000}).encode(), 413),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_wrong_question_is_refused_in_words(server: WebServer, question: object, status: int) -> None:
    reply = ask(server, question)
    assert reply.status == status or reply.status // 100 == status, (reply, server.log)
    assert reply.json["detail"]
    assert "Traceback" not in server.log, server.log


def test_an_endless_body_is_not_read_to_its_end(server: WebServer) -> None:
    """In chunks, without a length to go by."""
    reply = server.ask("/digits", iter([b"x" * 1024] * 64), Content_Type="application/json")  # type: ignore[arg-type]
    assert reply.status in {400, 413}


def test_other_methods_and_addresses_are_refused(server: WebServer) -> None:
    assert server.ask("/digits").status == 405
    assert server.ask("/").status == 404


def test_overloaded_tells_when_to_ask_again(server: WebServer, daemon: FakeProcess) -> None:
    with daemon.fault("overload", retry_after_ms=2500):
        reply = ask(server, {"image": BLANK})
    assert (reply.status, reply.headers.get("retry-after")) == (503, "3"), (reply, server.log)


@pytest.mark.parametrize(
    "error",
    [
        predictd.ModelNotFoundError("a secret: not found"),
        predictd.TensorMismatchError("a secret: mismatch"),
        predictd.PredictionError("a secret: raised"),
        predictd.InternalServerError("a secret: a fault"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_that_lasts_is_a_502_and_its_reason_the_log_s(
    server: WebServer, daemon: FakeProcess, error: predictd.PredictdError
) -> None:
    with daemon.fault("refuse", error=error):
        reply = ask(server, {"image": BLANK})
    assert reply.status == 502, (reply, server.log)
    assert "can't answer" in reply.json["detail"]
    assert b"secret" not in reply.body
    server.wait_until(lambda: error.message in server.log, "the log has the reason")
    assert "Traceback" not in server.log


def test_a_model_that_is_slow_is_given_up(server: WebServer, daemon: FakeProcess) -> None:
    with daemon.fault("delay", ms=60_000):
        reply = ask(server, {"image": BLANK})
    assert reply.status == 504, (reply, server.log)


def test_a_daemon_that_is_away_and_comes_back(server: WebServer, daemon: FakeProcess) -> None:
    assert ask(server, {"image": BLANK}).status == 200
    daemon.kill()
    reply = ask(server, {"image": BLANK})
    assert (reply.status, reply.headers.get("retry-after")) == (503, "1"), (reply, server.log)
    daemon.restart()
    assert ask(server, {"image": BLANK}).status == 200, server.log
    assert "Traceback" not in server.log
