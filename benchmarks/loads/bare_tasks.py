"""A worker without predictd: `celery -A benchmarks.loads.bare_tasks worker`, with PREDICTD_BROKER_URL set.

What a child of Celery's takes when it has nothing to do with models.
"""

# Celery has no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import os
import time

from celery import Celery

WAKE = "benchmarks.wake"
WAKE_S = 0.3

_url = os.environ.get("PREDICTD_BROKER_URL", "memory://")
app = Celery("bare", broker=_url, backend=_url if "redis" in _url else "cache+memory://")
app.conf.broker_connection_retry_on_startup = True
# As `celery_tasks.py` has it: whoever enqueues is the same.
app.conf.task_default_queue = "predictd"


# Not shared: Celery would put it in the place of the task of this name in any other app of the process.
@app.task(name=WAKE, shared=False)
def wake(*_: object) -> int:
    """Be busy for long enough that other children get their tasks too; return the child's process id."""
    time.sleep(WAKE_S)
    return os.getpid()
