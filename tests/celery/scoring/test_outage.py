"""How long a run waits for a service: until it is back, or too long; outages are told apart by what lies between."""

from __future__ import annotations

import pytest

from predictd_celery.scoring.outage import AwayError, Outage
from predictd_proto.errors import ScoreError


class Clock:
    """A time that passes by sleeping."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def outage(clock: Clock) -> Outage:
    return Outage("Redis", (ConnectionError,), longest_s=10, clock=clock, sleep=clock.sleep)


def refuse() -> None:
    message = "refused"
    raise ConnectionError(message)


def test_it_is_waited_for_until_it_is_back() -> None:
    clock = Clock()

    def call() -> str:
        if clock.now_s < 109:
            refuse()
        return "back"

    assert outage(clock).wait_for(call) == "back"


def test_one_that_stays_away_is_told() -> None:
    clock = Clock()
    with pytest.raises(ScoreError, match=r"Redis has been away for 10 s \(refused\).*the same again goes on"):
        outage(clock).wait_for(refuse)


def test_an_answer_ends_an_outage() -> None:
    clock = Clock()
    redis = outage(clock)
    for _ in range(3):
        with pytest.raises(AwayError):
            redis.ask(refuse)
        clock.sleep(8)
        assert redis.ask(lambda: 1) == 1
    with pytest.raises(ZeroDivisionError):
        redis.ask(lambda: 1 / 0)
