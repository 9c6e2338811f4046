"""What was submitted and never asked for is finished: when the client is closed, and when a program ends."""

from __future__ import annotations

import numpy as np
import pytest

import predictd
from predictd_proto.messages import PredictRequest
from tests.client.fake_process import run_program
from tests.client.fake_server import FakeServer, answer, silent
from tests.client.test_processes import PROLOGUE

ROWS = np.ones((2, 4), np.float32)


def test_leaving_a_client_finishes_what_was_submitted(server: FakeServer, endpoint: str) -> None:
    with predictd.Client(endpoint) as client:
        futures = [client.submit("double", ROWS) for _ in range(100)]
    assert all(future.done() for future in futures)
    assert len(server.of(PredictRequest)) == 100


def test_closing_waits_no_longer_than_the_requests_may_take(server: FakeServer, endpoint: str) -> None:
    server.replies = [silent]
    with predictd.Client(endpoint, timeout_ms=200) as client:
        future = client.submit("double", ROWS)
    assert isinstance(future.exception(timeout=0), predictd.DeadlineExceededError)


@pytest.mark.parametrize(
    "rest",
    [
        "for _ in range(100): client.submit('double', rows)",
        "with client:\n    for _ in range(100): client.submit('double', rows)",
        "for _ in range(100): client.submit('double', rows)\ndel client, model\ngc.collect()",
        "client.submit('double', rows).result()\nfor _ in range(99): client.submit('double', rows)\nsys.exit(0)",
    ],
)
def test_a_program_that_ends_finishes_what_was_submitted(server: FakeServer, endpoint: str, rest: str) -> None:
    ran = run_program(f"{PROLOGUE}\n{rest}", endpoint)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert len(server.of(PredictRequest)) == 100


def test_a_program_ends_though_futures_are_not_done(server: FakeServer, endpoint: str) -> None:
    server.replies = [lambda request: [answer(request)], silent]
    program = f"{PROLOGUE}\nfs = [client.submit('double', rows) for _ in range(3)]\nfs[0].result()"
    ran = run_program(program, endpoint)
    said = "predictd: 2 submitted requests were not finished at exit: no answer came for 5 s\n"
    assert (ran.returncode, ran.stderr) == (0, said)


def test_a_program_ends_though_nobody_is_there(endpoint: str) -> None:
    ran = run_program(f"{PROLOGUE}\nclient.submit('double', rows)", endpoint)
    assert ran.returncode == 0
