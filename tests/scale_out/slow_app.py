"""The ready app with chunks that take their time, so that something can happen to them."""

from __future__ import annotations

import time
from typing import Any

from celery.signals import task_prerun

from predictd_celery.application import app as app  # noqa: PLC0414  (what `celery -A` looks for)

CHUNK_S = 0.15


@task_prerun.connect
def wait(**_: Any) -> None:
    """As a chunk of many rows would, in the child that runs the task."""
    time.sleep(CHUNK_S)
