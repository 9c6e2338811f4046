"""When a task tries again: at least when the server says, doubling, spread out, far below the visibility timeout."""

from __future__ import annotations

import pytest

from predictd_celery.retries import VISIBILITY_TIMEOUT_S, RetryPolicy
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
    assert POLICY.delay_s(absurd, 0, random=0.5) == POLICY.max_delay_s


def test_the_defaults_outlast_a_restart_and_stay_far_below_the_visibility_timeout() -> None:
    waits = [[POLICY.delay_s(SILENCE, n, random=r) for n in range(POLICY.max_retries)] for r in (0.0, 1.0)]
    assert sum(waits[0]) > 60
    assert max(waits[1]) < VISIBILITY_TIMEOUT_S / 10


@pytest.mark.parametrize("wrong", [{"max_retries": -1}, {"max_delay_s": 0}, {"max_delay_s": 1000}])
def test_a_policy_that_makes_no_sense_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}: expected"):
        RetryPolicy(**wrong)
