"""What tasks and their results are in a worker's Redis."""

from __future__ import annotations

from typing import Any

import redis

from tests.celery.worker_process import WorkerProcess

#: Nobody listens there: what is sent stays, to be looked at.
NOBODY = "nobody"


def broker_of(worker: WorkerProcess) -> redis.Redis:
    return redis.Redis.from_url(worker.app.conf.broker_url)


def body_in_broker(worker: WorkerProcess, task: str, *args: Any, **options: Any) -> bytes:
    """Return what a task is in Redis."""
    worker.send(task, *args, queue=NOBODY, **options)
    with broker_of(worker) as client:
        (message,) = client.lrange(NOBODY, 0, -1)
        client.delete(NOBODY)
    assert isinstance(message, bytes)
    return message


def result_in_redis(worker: WorkerProcess, result: Any) -> bytes:
    """Return what an answer is in Redis."""
    with broker_of(worker) as client:
        found = client.get(f"celery-task-meta-{result.id}")
    assert isinstance(found, bytes)
    return found
