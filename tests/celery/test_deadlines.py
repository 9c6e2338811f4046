"""The deadline of a call inside a task: whichever bound comes first, by Celery's own rules."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest

from predictd_celery.config import task_timeout_ms
from predictd_celery.deadlines import AppBounds, seconds_until, task_deadline
from predictd_celery.worker_limits import keep_worker_limits
from predictd_proto.errors import ConfigError

NOW = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def task(*, per_call=None, own=(None, None), app=(None, None), expires=None):
    """A task with (hard, soft) limits, in Celery's order."""
    return SimpleNamespace(
        request=SimpleNamespace(timelimit=per_call, expires=expires),
        time_limit=own[0],
        soft_time_limit=own[1],
        app=SimpleNamespace(conf={"task_time_limit": app[0], "task_soft_time_limit": app[1]}),
    )


def deadline(a_task, *, timeout_ms=30_000, elapsed_s=0.0):
    bounds = AppBounds.of(a_task.app.conf)
    return task_deadline(a_task, a_task.request, bounds, timeout_ms=timeout_ms, elapsed_s=elapsed_s, now=NOW)


@pytest.mark.parametrize(
    ("a_task", "remaining_ms", "set_by"),
    [
        (task(), 30_000, "the call's timeout of 30000 ms"),
        (task(per_call=[None, None]), 30_000, "the call's timeout of 30000 ms"),
        (task(app=(None, 10)), 9500, "the task's soft time limit of 10 s"),
        (task(app=(10, None)), 9500, "the task's hard time limit of 10 s"),
        (task(app=(20, 10)), 9500, "the task's soft time limit of 10 s"),
        # Celery's rule: the call's own, else the task's, else the app's; not the smallest of the three.
        (task(app=(None, 5), own=(None, 10)), 9500, "the task's soft time limit of 10 s"),
        (task(app=(None, 5), own=(None, 6), per_call=[None, 20]), 19500, "the task's soft time limit of 20 s"),
        (task(expires="2026-01-01T12:00:03+00:00", app=(None, 10)), 3000, "the task's expiry"),
        (task(expires="2026-01-01T12:00:03Z"), 3000, "the task's expiry"),
        (task(expires="2026-01-01T12:00:03"), 3000, "the task's expiry"),
        (task(expires=NOW + timedelta(seconds=-1)), -1000, "the task's expiry"),
    ],
)
def test_the_first_bound_is_the_deadline(a_task, remaining_ms: float, set_by: str) -> None:
    found = deadline(a_task)
    assert found.remaining_ms == pytest.approx(remaining_ms)
    assert found.set_by == set_by


def test_limits_count_from_the_start_of_the_task() -> None:
    assert deadline(task(app=(None, 10)), elapsed_s=4).remaining_ms == pytest.approx(5500)
    assert deadline(task(app=(None, 10)), elapsed_s=11).remaining_ms < 0


def test_the_margin_is_a_share_of_short_limits() -> None:
    assert deadline(task(app=(None, 1))).remaining_ms == pytest.approx(900)


def test_a_task_without_expiry_has_none() -> None:
    assert seconds_until(None, NOW) is None


def test_the_worker_s_own_limits_reach_the_settings() -> None:
    conf = SimpleNamespace(task_soft_time_limit=None, task_time_limit=None)
    keep_worker_limits(instance=SimpleNamespace(soft_time_limit=5, time_limit=9), conf=conf, sender="w", signal=None)
    assert (conf.task_soft_time_limit, conf.task_time_limit) == (5, 9)


@pytest.mark.parametrize(
    ("conf", "environ", "timeout_ms"),
    [
        ({}, {}, None),
        ({}, {"PREDICTD_TIMEOUT_MS": ""}, None),
        ({}, {"PREDICTD_TIMEOUT_MS": "500"}, 500),
        ({"predictd_timeout_ms": 2000}, {"PREDICTD_TIMEOUT_MS": "500"}, 2000),
    ],
)
def test_a_call_s_timeout_is_the_app_s_else_the_environment_s(conf, environ, timeout_ms: float | None) -> None:
    assert task_timeout_ms(conf, environ) == timeout_ms


@pytest.mark.parametrize(
    ("conf", "environ", "name"),
    [
        ({"predictd_timeout_ms": "soon"}, {}, "predictd_timeout_ms: expected a number .* got 'soon'"),
        ({"predictd_timeout_ms": 0}, {}, "predictd_timeout_ms: expected a number .* got 0"),
        ({}, {"PREDICTD_TIMEOUT_MS": "soon"}, "the environment's PREDICTD_TIMEOUT_MS: expected .* got 'soon'"),
        ({}, {"PREDICTD_TIMEOUT_MS": "-1"}, "the environment's PREDICTD_TIMEOUT_MS: expected .* got -1"),
    ],
)
def test_a_wrong_timeout_of_an_app_names_itself(conf, environ, name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        task_timeout_ms(conf, environ)
