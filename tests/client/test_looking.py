"""What is told of servers that are not ready in time: what the look says that reached most of them."""

from __future__ import annotations

from typing import Any

import pytest

import predictd
from predictd.deadline import Deadline
from predictd.routing.looking import wait_until_ready

LOADING = predictd.ModelNotReadyError("3 endpoints failed: loading, and two more", {"state": "loading"})
HURRIED = predictd.ModelNotReadyError("2 endpoints failed: loading, and one more", {"state": "loading"})
LATE = predictd.DeadlineExceededError("no answer in 200 ms")
NOBODY = predictd.ServerUnavailableError("no predictd answered")


class Asked:
    """Answers each look with the next error, some seconds later."""

    def __init__(self, *looks: tuple[predictd.PredictdError, float]) -> None:
        self.now_s = 100.0
        self.looks = list(looks)

    def any_ready(self, *_: object) -> Any:
        error, seconds = self.looks.pop(0)
        self.now_s += seconds
        raise error

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.mark.parametrize(
    ("looks", "timeout_ms", "said"),
    [
        ([(LOADING, 1.8), (HURRIED, 0.1)], 2000, "not ready within 2.0 s: 3 endpoints failed"),
        ([(LOADING, 1.8), (NOBODY, 0.1)], 2000, "not ready within 2.0 s: 3 endpoints failed"),
        ([(HURRIED, 0.2), (LOADING, 1.7)], 2000, "not ready within 2.0 s: 3 endpoints failed"),
        ([(NOBODY, 0.2), (HURRIED, 0.2)], 500, "not ready within 500 ms: 2 endpoints failed"),
        ([(LATE, 0.2), (HURRIED, 0.2)], 500, "not ready within 500 ms: 2 endpoints failed"),
        ([(NOBODY, 0.2), (NOBODY, 0.2)], 500, "no predictd answered"),
    ],
    ids=["fewer", "nobody", "more", "somebody", "in time", "never"],
)
def test_a_last_look_in_a_hurry_is_told_only_where_nobody_was_seen_before(
    looks: list[tuple[predictd.PredictdError, float]], timeout_ms: float, said: str
) -> None:
    asked: Any = Asked(*looks)
    with pytest.raises(predictd.PredictdError, match=said):
        wait_until_ready(asked, None, Deadline(timeout_ms, lambda: asked.now_s), sleep=asked.sleep)
    assert not asked.looks
