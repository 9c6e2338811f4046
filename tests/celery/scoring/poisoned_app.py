"""The ready app, with one chunk that kills the child that takes it: as one does whose decoder takes all memory."""

from __future__ import annotations

import os
import signal
from typing import Any

from celery.signals import task_prerun

from predictd_celery.application import app as app  # noqa: PLC0414  (what `celery -A` looks for)

#: The first row of that chunk.
POISON = 10


@task_prerun.connect
def die(args: Any, **_: Any) -> None:
    """In the child, before it reads."""
    if isinstance(args[0], dict) and args[0]["span"]["first_row"] == POISON:
        os.kill(os.getpid(), signal.SIGKILL)
