"""Time limits inside a call, pool by pool: what Celery enforces there, and what the client's own deadline does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from celery.exceptions import TimeLimitExceeded

from predictd_proto.errors import DeadlineExceededError
from tests.pools.driver import check_answers, required
from tests.pools.worker import CONCURRENCY, TASKS, Worker

pytestmark = [pytest.mark.integration, pytest.mark.redis, pytest.mark.slow, pytest.mark.tensorflow]

#: Which limits of Celery's interrupt a call, as `docs/pools.md` says too.
ENFORCED = {"prefork": {"soft", "hard"}, "solo": set(), "threads": set(), "gevent": {"hard"}, "eventlet": set()}


@pytest.mark.parametrize("pool", list(CONCURRENCY))
def test_limits(pool: str, start_worker: Callable[..., Worker], digits: tuple[np.ndarray, np.ndarray]) -> None:
    if pool in {"gevent", "eventlet"}:
        required(pool)
    worker = start_worker(pool, children=min(4, CONCURRENCY[pool]))

    soft = worker.send(f"{TASKS}.wait_for_model", 2.0, soft_time_limit=1)
    assert worker.answer(soft) == ("soft limit" if "soft" in ENFORCED[pool] else "answered")

    hard = worker.send(f"{TASKS}.wait_for_model", 2.0, time_limit=1)
    if "hard" in ENFORCED[pool]:
        with pytest.raises(TimeLimitExceeded):
            worker.answer(hard)
    else:
        assert worker.answer(hard) == "answered"

    # The base task's own deadline holds in every pool, and says what set it.
    with pytest.raises(DeadlineExceededError, match="set by the task's soft time limit of 1 s"):
        worker.answer(worker.send(f"{TASKS}.ask_model", 2.0, soft_time_limit=1))

    check_answers(worker.send_rows(range(40))(), digits[1], 40)
