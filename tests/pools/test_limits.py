"""Time limits inside a call, pool by pool: what Celery enforces there, and what the client's own deadline does."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

from predictd_proto.errors import DeadlineExceededError
from tests.daemon_process import DaemonProcess
from tests.pools.driver import check_answers, required
from tests.pools.worker import CONCURRENCY, TASKS, Worker

pytestmark = [pytest.mark.integration, pytest.mark.redis, pytest.mark.slow, pytest.mark.tensorflow]

#: Which limits of Celery's interrupt a call, as `docs/pools.md` says too.
ENFORCED = {"prefork": {"soft", "hard"}, "solo": set(), "threads": set(), "gevent": {"hard"}, "eventlet": set()}


@pytest.mark.parametrize("pool", list(CONCURRENCY))
def test_limits(
    pool: str,
    start_worker: Callable[..., Worker],
    digits: tuple[np.ndarray, np.ndarray],
    mortal_daemon: DaemonProcess,
) -> None:
    if pool in {"gevent", "eventlet"}:
        required(pool)
    worker = start_worker(pool, children=min(4, CONCURRENCY[pool]))

    def seconds_of(limit: str) -> float:
        # What an interrupted call left running would be in the next one's way.
        worker.wait_until(lambda: mortal_daemon.status().running_ms == 0, "the engine is idle")
        return 8.0 if limit in ENFORCED[pool] else 2.0

    # A limit of a second: where it is enforced it comes long before the answer, however slow the machine is.
    soft = worker.send(f"{TASKS}.wait_for_model", seconds_of("soft"), soft_time_limit=1)
    assert worker.answer(soft) == ("soft limit" if "soft" in ENFORCED[pool] else "answered")

    hard = worker.send(f"{TASKS}.wait_for_model", seconds_of("hard"), time_limit=1)
    if "hard" in ENFORCED[pool]:
        with pytest.raises(TimeLimitExceeded):
            worker.answer(hard)
    else:
        assert worker.answer(hard) == "answered"

    # The base task's own deadline holds in every pool, and says what set it. It is a little before the limit: where
    # Celery enforces that too, a slow machine may be too late for it.
    enforced = (SoftTimeLimitExceeded,) if "soft" in ENFORCED[pool] else ()
    with pytest.raises((DeadlineExceededError, *enforced)) as ended:
        worker.answer(worker.send(f"{TASKS}.ask_model", seconds_of("soft"), soft_time_limit=1))
    # The server may have been the first to notice that the time is up: it knows nothing of tasks.
    if ended.type is DeadlineExceededError:
        assert "set by the task's soft time limit of 1 s" in str(ended.value)

    check_answers(worker.send_rows(range(40))(), digits[1], 40)


def test_what_a_killed_child_had_queued_is_released(
    start_worker: Callable[..., Worker], digits: tuple[np.ndarray, np.ndarray], mortal_daemon: DaemonProcess
) -> None:
    """The hard limit in prefork is SIGTERM and soon SIGKILL: the child cancels, or the server sees that it is gone."""
    worker = start_worker("prefork", children=2)
    check_answers(worker.send_rows(range(10))(), digits[1], 10)
    before = _given_up(mortal_daemon)
    with mortal_daemon.client(timeout_ms=60_000) as client, ThreadPoolExecutor(1) as caller:
        # The engine is busy for longer than the limit, so the task's own request can't leave the queue.
        busy = caller.submit(client.predict, "sleeper", np.array([105.0], np.float32))
        worker.wait_until(lambda: mortal_daemon.status().running_ms > 0, "the engine is busy")
        with pytest.raises(TimeLimitExceeded):
            worker.answer(worker.send(f"{TASKS}.wait_for_model", 20.0, time_limit=1))
        check_answers(worker.send_rows(range(10))(), digits[1], 10)
        assert busy.result(60).outputs.tolist() == [105.0]
    assert _given_up(mortal_daemon) == before + 1


def _given_up(daemon: DaemonProcess) -> int:
    counters = daemon.status().counters
    return counters["requests_cancelled_total"] + counters["requests_released_total"]
