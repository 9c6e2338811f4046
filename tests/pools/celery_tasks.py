"""A user's Celery app of the matrix: `celery -A tests.pools.celery_tasks worker --pool=...`."""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import os
from typing import Any

import numpy as np
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded

from predictd_celery import PredictTask
from tests.pools import asker

_URL = os.environ.get("PREDICTD_BROKER_URL", "memory://")
app = Celery("pools", broker=_URL, backend=_URL if "redis" in _URL else "cache+memory://")
app.conf.broker_connection_retry_on_startup = True


@app.task
def scores(row: int) -> dict[str, Any]:
    """Return what the model says about a row."""
    return asker.ask(row)


@app.task
def wait_for_model(seconds: float) -> str:
    """Ask the model that sleeps, in a task that knows nothing of its limits; say how it ended."""
    try:
        asker.client.predict("sleeper", np.array([100.0 + seconds], np.float32))
    except SoftTimeLimitExceeded:
        return "soft limit"
    return "answered"


@app.task(base=PredictTask, bind=True)
def ask_model(self: PredictTask, seconds: float) -> list[float]:
    """Ask the same model by a task whose deadline is its limits'."""
    slept: list[float] = self.ask("sleeper", np.array([100.0 + seconds], np.float32)).outputs.tolist()
    return slept
