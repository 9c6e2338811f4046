"""What the daemon is told about a task: its id, its queue and the trace it belongs to.

Owns reading these out of a Celery request. It knows no task and asks nobody. Runs in the thread that runs the task.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: What the wire carries of one text; longer queue names are cut, they only group the metrics.
_MAX_TEXT = 256
TRACEPARENT = "traceparent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks.

    Attributes:
        task_id: The task's id.
        caller_class: The queue it came from.
        traceparent: W3C trace context, as the enqueuing side put it into the message's headers.
    """

    task_id: str
    caller_class: str
    traceparent: str

    @classmethod
    def from_request(cls, request: Any) -> Caller:
        """Return the caller that a Celery request describes; empty texts outside a worker."""
        # With Celery's direct exchanges the routing key is the queue's name; the name itself doesn't travel.
        queue = (request.delivery_info or {}).get("routing_key") or ""
        # Custom headers are attributes of the request in a worker, and a dict of their own in eager mode.
        traceparent = (request.headers or {}).get(TRACEPARENT) or request.get(TRACEPARENT) or ""
        return cls(
            task_id=str(request.id or "")[:_MAX_TEXT],
            caller_class=str(queue)[:_MAX_TEXT],
            traceparent=str(traceparent)[:_MAX_TEXT],
        )
