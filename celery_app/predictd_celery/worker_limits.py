"""The time limits of `celery worker --soft-time-limit --time-limit`, where tasks can read them.

Owns a receiver of `celeryd_after_setup`: Celery hands these two options to its pool and to nothing else, so a child
that wants to know its limits finds only those of the settings. Runs in the worker's parent, before it has children.
"""

from __future__ import annotations

from typing import Any


def keep_worker_limits(*, instance: Any, conf: Any, **_: Any) -> None:
    """Write the worker's own limits into its app's settings; children inherit these, forked or spawned."""
    conf.task_soft_time_limit = instance.soft_time_limit
    conf.task_time_limit = instance.time_limit
