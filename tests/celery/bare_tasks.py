"""A Celery app without predictd: what a worker's child costs by itself."""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import os

from celery import Celery

app = Celery("bare", broker=os.environ["PREDICTD_BROKER_URL"], backend=os.environ["PREDICTD_BROKER_URL"])
app.conf.broker_connection_retry_on_startup = True


@app.task
def nothing() -> None:
    """Do nothing."""
