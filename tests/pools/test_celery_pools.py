"""Every pool of a Celery worker, with a user's own app: the client is made at import and used in the parent."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.pools.driver import required
from tests.pools.worker import CONCURRENCY, AskedWorker, Worker

pytestmark = [pytest.mark.integration, pytest.mark.redis, pytest.mark.slow, pytest.mark.tensorflow]


@pytest.mark.parametrize("pool", list(CONCURRENCY))
def test_pool(pool: str, start_worker: Callable[..., Worker], passes: Callable[..., None]) -> None:
    if pool in {"gevent", "eventlet"}:
        required(pool)
    passes(AskedWorker(start_worker(pool)))
