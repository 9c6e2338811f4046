"""What is repeated, how often and after which pauses; no clock but the test's own."""

from __future__ import annotations

import pytest

from predictd.deadline import Deadline
from predictd.routing.retries import Retries, Tries
from predictd_proto.errors import (
    DeadlineExceededError,
    ExpiredInQueueError,
    ModelNotReadyError,
    OverloadedError,
    PredictdError,
    RetryableError,
    ServerLostError,
    ServerUnavailableError,
    TensorMismatchError,
)

DEFAULT = Retries()
LOST, BUSY, GONE = ServerLostError("lost"), OverloadedError("busy"), ServerUnavailableError("gone")


class Attempts:
    """A call that fails as told, then succeeds; its time passes by sleeping only."""

    def __init__(self, *failures: PredictdError, timeout_ms: float = 60_000, draw: float = 1.0) -> None:
        self.failures = list(failures)
        self.pauses_ms: list[float] = []
        self.now_s = 0.0
        self.draw = draw
        self.deadline = Deadline(timeout_ms, lambda: self.now_s)

    def run(self, retries: Retries = DEFAULT) -> str:
        tries = Tries(retries, self.deadline, lambda: self.draw)
        while self.failures:
            error = self.failures.pop(0)
            if not isinstance(error, RetryableError):
                raise error
            pause_ms = tries.pause_ms(error)
            if pause_ms is None:
                raise tries.final(error)
            self.pauses_ms.append(round(pause_ms, 6))
            self.now_s += pause_ms / 1000
        return "answer"


def test_a_busy_server_is_asked_again_with_growing_pauses() -> None:
    attempts = Attempts(*[BUSY] * 9)
    assert attempts.run() == "answer"
    assert attempts.pauses_ms == [25, 50, 100, 200, 400, 800, 1600, 2000, 2000]


def test_pauses_are_drawn_from_zero_up() -> None:
    attempts = Attempts(BUSY, BUSY, draw=0.0)
    assert attempts.run() == "answer"
    assert attempts.pauses_ms == [0, 0]


def test_the_servers_own_estimate_is_waited_for() -> None:
    attempts = Attempts(OverloadedError("busy", {"retry_after_ms": 700}), draw=0.5)
    assert attempts.run() == "answer"
    assert attempts.pauses_ms == [712.5]


def test_no_pause_goes_past_the_deadline() -> None:
    attempts = Attempts(*[BUSY] * 100, timeout_ms=500)
    with pytest.raises(OverloadedError, match=r"busy \(given up after 5 tries in 375 ms\)"):
        attempts.run()
    assert attempts.now_s < 0.5


def test_an_estimate_beyond_the_deadline_is_not_waited_for() -> None:
    attempts = Attempts(OverloadedError("busy", {"retry_after_ms": 700}), timeout_ms=500)
    with pytest.raises(OverloadedError, match=r"^busy$"):
        attempts.run()
    assert attempts.pauses_ms == []


def test_a_request_that_took_the_server_down_is_sent_again_once() -> None:
    assert Attempts(LOST).run() == "answer"
    with pytest.raises(ServerLostError, match="given up after 2 tries"):
        Attempts(LOST, LOST).run()
    assert Attempts(LOST, LOST).run(Retries(resends=2)) == "answer"


def test_a_lost_server_is_waited_for() -> None:
    assert Attempts(LOST, GONE, GONE, ModelNotReadyError("loading")).run() == "answer"


def test_the_time_of_one_try_is_left_out_where_that_of_all_is_told() -> None:
    gone = ServerUnavailableError("no predictd answered at ipc:///d.sock within 13 ms: no such socket file")
    with pytest.raises(ServerLostError, match=r"at ipc:///d\.sock: no such socket file \(given up after"):
        Attempts(LOST, *[gone] * 200, timeout_ms=3000).run()


def test_the_loss_is_told_when_the_server_does_not_come_back() -> None:
    with pytest.raises(ServerLostError, match=r"lost\. Since then: gone \(given up after"):
        Attempts(LOST, *[GONE] * 200, timeout_ms=3000).run()


@pytest.mark.parametrize(
    "error", [GONE, ExpiredInQueueError("late"), DeadlineExceededError("late"), TensorMismatchError("wrong")]
)
def test_what_repeating_does_not_help_is_not_repeated(error: PredictdError) -> None:
    attempts = Attempts(error)
    with pytest.raises(type(error)) as caught:
        attempts.run()
    assert caught.value is error
    assert attempts.pauses_ms == []


def test_a_permanent_error_ends_the_repeating() -> None:
    with pytest.raises(TensorMismatchError):
        Attempts(BUSY, TensorMismatchError("wrong")).run()
