"""A calling task: what a request says of the Celery task that asks.

Owns the record, and how a log names the tasks of requests. What is kept for a task's next run is `task_runs.py`'s, the
totals are `task_counts.py`'s. Pure; pump thread only, but for the names, which any thread reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from predictd_proto.messages import PredictRequest
from predictd_proto.printable import printable

if TYPE_CHECKING:
    from predictd_server.serving.pending import Pending

#: A log's line names so many tasks; the others are counted.
MOST_NAMED = 5


@dataclass(slots=True, eq=False)
class CallingTask:
    """The task that a request is for.

    Attributes:
        id: Its id, the same each time that it is run; empty where only the others are known.
        name: What kind of task it is.
        queue: The class of callers that the request named: of a task it is the queue.
        traceparent: W3C trace context.
        is_kept: Its client is gone; the work is kept for the task's next run.
        is_joined: It is the next run, and took the work of an earlier one over.
    """

    id: str
    name: str
    queue: str
    traceparent: str
    is_kept: bool = False
    is_joined: bool = False

    def __str__(self) -> str:
        # As Celery's own log has it, so that one search finds both.
        named = f"task {self.name or '?'}[{self.id or '?'}]" if self.name or self.id else ""
        texts = [named, f"traceparent {self.traceparent}"] if self.traceparent else [named]
        return printable(" ".join(texts).strip())


def calling_task(message: PredictRequest) -> CallingTask | None:
    """Return the task that a request is for; None where it names none and belongs to no trace."""
    if message.task_id or message.task_name or message.traceparent:
        return CallingTask(message.task_id, message.task_name, message.caller_class, message.traceparent)
    return None


def named_tasks(requests: Iterable[Pending]) -> str:
    """Return the tasks of some requests for a log, in brackets, each once; empty where there are none."""
    tasks = dict.fromkeys([str(request.task) for request in requests if request.task is not None])
    if not tasks:
        return ""
    more = f", and {len(tasks) - MOST_NAMED} more" if len(tasks) > MOST_NAMED else ""
    return f" ({', '.join(list(tasks)[:MOST_NAMED])}{more})"
