"""A user's Celery app of the matrix: `celery -A tests.pools.celery_tasks worker --pool=...`."""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import os
from typing import Any

from celery import Celery

from tests.pools import asker

_URL = os.environ.get("PREDICTD_BROKER_URL", "memory://")
app = Celery("pools", broker=_URL, backend=_URL if "redis" in _URL else "cache+memory://")
app.conf.broker_connection_retry_on_startup = True


@app.task
def scores(row: int) -> dict[str, Any]:
    """Return what the model says about a row."""
    return asker.ask(row)
