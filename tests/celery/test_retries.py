"""When a task tries again: at least when the server says, doubling, spread out, far below the visibility timeout."""

from __future__ import annotations

import pytest

from predictd_celery import RetryPolicy
from predictd_celery.retries import DEFAULT_MAX_RETRIES, VISIBILITY_TIMEOUT_S, longest_delay_s
from predictd_proto.errors import OverloadedError, ServerUnavailableError

POLICY = RetryPolicy()
SILENCE = ServerUnavailableError("nobody there")


def test_delays_double_up_to_the_longest() -> None:
    delays = [POLICY.delay_s(SILENCE, retries, random=1.0) for retries in range(10)]
    assert delays[:4] == [0.5, 1.0, 2.0, 4.0]
    assert max(delays) == delays[-1] == POLICY.max_delay_s
    assert POLICY.delay_s(SILENCE, 2000, random=1.0) == POLICY.max_delay_s


def test_half_of_a_delay_is_chance() -> None:
    assert POLICY.delay_s(SILENCE, 3, random=0.0) == 2.0
    assert POLICY.delay_s(SILENCE, 3, random=1.0) == 4.0


def test_the_server_s_own_estimate_is_the_least() -> None:
    busy = OverloadedError("full", {"retry_after_ms": 3000})
    assert POLICY.delay_s(busy, 0, random=0.0) == 3.0
    assert 3.0 < POLICY.delay_s(busy, 0, random=1.0) <= 4.5


def test_no_estimate_of_a_server_makes_a_task_wait_for_long() -> None:
    absurd = OverloadedError("full", {"retry_after_ms": 1e9})
    assert POLICY.delay_s(absurd, 0, random=1.0) == POLICY.max_delay_s
    assert POLICY.delay_s(absurd, 0, random=0.0) == POLICY.max_delay_s / 2


def test_the_defaults_outlast_a_restart_and_stay_far_below_the_visibility_timeout() -> None:
    waits = [[POLICY.delay_s(SILENCE, n, random=r) for n in range(DEFAULT_MAX_RETRIES)] for r in (0.0, 1.0)]
    assert sum(waits[0]) > 60
    assert max(waits[1]) < VISIBILITY_TIMEOUT_S / 10


@pytest.mark.parametrize("wrong", [{"max_delay_s": 0}, {"max_delay_s": 1000}])
def test_a_policy_that_makes_no_sense_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}: expected"):
        RetryPolicy(**wrong)


@pytest.mark.parametrize(
    ("options", "longest_s"),
    [
        (None, 180),
        ({}, 180),
        ({"visibility_timeout": 3600}, 360),
        ({"visibility_timeout": 20}, 2),
        ({"visibility_timeout": "20"}, 180),
        ({"visibility_timeout": -1}, 180),
        ({"visibility_timeout": True}, 180),
    ],
)
def test_the_broker_s_visibility_timeout_is_the_one_of_the_app(options, longest_s: float) -> None:
    assert longest_delay_s({"broker_transport_options": options}) == pytest.approx(longest_s)


@pytest.mark.parametrize("retry_after_ms", [1900, 2000, 60_000])
@pytest.mark.parametrize("retries", range(10))
def test_no_delay_is_longer_than_the_broker_allows_and_they_are_spread_out_before_that(
    retries: int, retry_after_ms: int
) -> None:
    busy = OverloadedError("full", {"retry_after_ms": retry_after_ms})
    delays = [POLICY.delay_s(busy, retries, random=random, longest_s=2.0) for random in (0.0, 0.5, 1.0)]
    assert delays[2] == 2.0
    assert delays[1] - delays[0] == pytest.approx(delays[2] - delays[1])
    assert 0.9 <= delays[2] - delays[0] <= 1.0


def test_without_an_estimate_half_of_the_longest_delay_is_chance() -> None:
    assert POLICY.delay_s(SILENCE, 9, random=0.0, longest_s=2.0) == 1.0
    assert POLICY.delay_s(SILENCE, 9, random=1.0, longest_s=2.0) == 2.0
