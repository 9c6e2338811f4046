"""What the daemon is told about a task: its id, its name, its queue and the trace it belongs to.

Owns reading these out of a Celery request. It knows no task and asks nobody. Runs in the thread that runs the task.
"""

from __future__ import annotations

from typing import Any

#: What the wire carries of one text; longer names are cut, they only group the totals.
_MAX_TEXT = 256
TRACEPARENT = "traceparent"


def caller_words(name: str, request: Any) -> dict[str, str]:
    """Return what `Client.predict` takes to tell who asks; empty texts outside a worker.

    Args:
        name: The task's name.
        request: Its Celery request.

    Returns:
        `task_id` and `task_name`; `caller_class`, the queue that it came from; `traceparent`, W3C trace context as the
        enqueuing side put it into the message's headers.
    """
    # With Celery's direct exchanges the routing key is the queue's name; the name itself doesn't travel.
    queue = (request.delivery_info or {}).get("routing_key") or ""
    # Custom headers are attributes of the request in a worker, and a dict of their own in eager mode.
    traceparent = (request.headers or {}).get(TRACEPARENT) or request.get(TRACEPARENT) or ""
    return {
        "task_id": str(request.id or "")[:_MAX_TEXT],
        "task_name": name[:_MAX_TEXT] if request.id else "",
        "caller_class": str(queue)[:_MAX_TEXT],
        "traceparent": str(traceparent)[:_MAX_TEXT],
    }
