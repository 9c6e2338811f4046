"""The ready Celery app: `celery -A predictd_celery worker`.

Owns the Celery instance. It connects to nothing, and is not made the process's current app: importing it next to an app
of one's own changes nothing there. Runs at import, in the worker's parent and in whatever enqueues.
"""

# Not called app.py: a module of that name would hide the instance as `predictd_celery.app`.
from __future__ import annotations

from celery import Celery

from predictd_celery.config import celery_settings
from predictd_celery.health import DaemonHealth

app = Celery("predictd", set_as_current=False, include=["predictd_celery.tasks", "predictd_celery.scoring.chunk_task"])
app.conf.update(celery_settings())
app.steps["consumer"].add(DaemonHealth)
