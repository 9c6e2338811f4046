"""Exceptions that a signal raises inside a call, as Celery's soft time limit and Ctrl-C do."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import predictd
from predictd_proto.messages import CancelRequest, Hello, PredictRequest
from tests.client.fake_server import FakeServer, answer, silent

ROWS = np.ones((2, 4), np.float32)


class TimeIsUp(Exception):  # noqa: N818
    """What the handler raises."""


def raise_it(number: int, frame: object) -> None:
    raise TimeIsUp


def ignore_it(number: int, frame: object) -> None:
    return


@pytest.fixture
def on_signal() -> Iterator[Callable[[int, Any], None]]:
    before: list[tuple[int, Any]] = []

    def install(number: int, treat: Any) -> None:
        before.append((number, signal.signal(number, treat)))

    yield install
    for number, treat in before:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(number, treat)


def send_signal(number: int) -> Callable[[PredictRequest], list[Any]]:
    """Return a reply that is a signal to the caller, who waits."""

    def reply(request: PredictRequest) -> list[Any]:
        signal.pthread_kill(threading.main_thread().ident or 0, number)
        return []

    return reply


@pytest.mark.parametrize(
    ("number", "treat", "error"),
    [(signal.SIGUSR1, raise_it, TimeIsUp), (signal.SIGINT, signal.default_int_handler, KeyboardInterrupt)],
)
def test_an_interrupted_call_is_cancelled_and_the_next_one_right(
    server: FakeServer, endpoint: str, on_signal: Any, number: int, treat: Any, error: type[BaseException]
) -> None:
    on_signal(number, treat)
    client = predictd.Client(endpoint)
    late: list[PredictRequest] = []

    def interrupt(request: PredictRequest) -> list[Any]:
        late.append(request)
        return send_signal(number)(request)

    server.replies = [
        lambda request: [answer(request)],
        interrupt,
        lambda request: [answer(late[0]), answer(request)],
    ]
    client.predict("double", ROWS)
    with pytest.raises(error):
        client.predict("double", ROWS * 50)
    (cancelled,) = server.wait_for(CancelRequest)
    assert cancelled.id == late[0].id
    assert client.predict("double", ROWS).outputs.sum() == 16
    assert len(server.of(Hello)) == 2


def test_a_signal_while_rows_are_streamed_cancels_all_that_is_under_way(
    server: FakeServer, endpoint: str, on_signal: Any
) -> None:
    on_signal(signal.SIGUSR1, raise_it)
    model = predictd.RemoteModel("double", endpoint=endpoint)
    server.replies = [silent, send_signal(signal.SIGUSR1)]
    with pytest.raises(TimeIsUp):
        model.predict(np.zeros((100, 4), np.float32), batch_size=10)
    assert len(server.wait_for(CancelRequest, 2)) == 2


def test_signals_that_only_interrupt_do_not_move_the_deadline(
    server: FakeServer, endpoint: str, on_signal: Any
) -> None:
    handled: list[int] = []
    on_signal(signal.SIGALRM, lambda number, frame: handled.append(number))
    server.replies = [silent]
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    with pytest.raises(predictd.DeadlineExceededError):
        predictd.Client(endpoint).predict("double", ROWS, timeout_ms=400)
    assert len(handled) >= 3


def test_an_exception_while_connecting_leaves_nothing_behind(server: FakeServer, endpoint: str, on_signal: Any) -> None:
    on_signal(signal.SIGUSR1, raise_it)
    welcome = server.welcome
    server.welcome = lambda hello: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
    client = predictd.Client(endpoint)
    with pytest.raises(TimeIsUp):
        client.predict("double", ROWS)
    server.welcome = welcome
    assert client.predict("double", ROWS).outputs.sum() == 16


@pytest.mark.parametrize("line", range(1, 40))
def test_an_exception_at_any_point_never_mixes_up_answers(server: FakeServer, endpoint: str, line: int) -> None:
    """Raise at the n-th line that the client's own modules run inside a call, wherever that is."""
    import sys

    client = predictd.Client(endpoint)
    client.predict("double", ROWS)
    left = line * 7

    def trace(frame: Any, event: str, argument: object) -> Any:
        nonlocal left
        if "/predictd/" not in frame.f_code.co_filename:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise TimeIsUp
        return trace

    sys.settrace(trace)
    try:
        client.predict("double", ROWS * 50)
    except TimeIsUp:
        pass
    finally:
        sys.settrace(None)
    for factor in (1, 2, 3):
        assert client.predict("double", ROWS * factor).outputs.sum() == 16 * factor
