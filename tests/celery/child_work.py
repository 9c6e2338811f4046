"""A task run as a worker's child runs it, in this process, and what it has put into the queue."""

from __future__ import annotations

from typing import Any

import celery
from celery.app.trace import build_tracer
from kombu.entity import Queue


def work(task: Any, *args: Any, words: dict[str, Any] | None = None, **request: Any) -> Any:
    """Run a task as a worker's child does; return its result, or the exception that Celery caught."""
    queue = {"exchange": "", "routing_key": task.app.conf.task_default_queue}
    task_id = celery.utils.uuid()
    known = {"id": task_id, "task": task.name, "delivery_info": queue, "retries": 0, **request}
    outcome = build_tracer(task.name, task, app=task.app)(task_id, args, words or {}, known)
    if outcome.info is None:
        return outcome.retval
    return outcome.info.retval


def message_of(app: celery.Celery) -> Any:
    """Return the next message in the queue."""
    with app.connection_for_read() as connection:
        message = Queue(app.conf.task_default_queue)(connection.default_channel).get(accept=["json", "predictd"])
        assert message is not None, "no message"
        message.ack()
        return message


def sent(app: celery.Celery) -> Any:
    """Return arguments, keyword arguments and the rest of the next message in the queue."""
    return message_of(app).decode()
