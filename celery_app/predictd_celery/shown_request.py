"""A worker's view of a task with arrays: what `celery inspect` and Flower are told of it, and what its retry needs.

Owns the arguments' short text, and the serializer of the message. Runs in the worker's parent; `came_in` also in the
thread that runs the task.
"""

from __future__ import annotations

from typing import Any

from celery.worker.request import Request
from kombu.serialization import registry

from predictd_celery.short_repr import short_repr

_CONTENT_TYPE = "content_type"


class ShownRequest(Request):  # type: ignore[misc]  # Celery has no types
    """A request that tells dtypes and shapes, and the child how its message was written.

    Celery's own sends the arguments themselves: an image of 600 kB as 3 MB of JSON that the parent writes, and no
    answer at all from a worker which holds one task with an argument that the reply's serializer refuses.
    """

    def __init__(self, *positional: Any, **words: Any) -> None:
        super().__init__(*positional, **words)
        # Of AMQP's properties this is one, of Redis' it is none. (None where the message was decoded before.)
        if self.content_type:
            properties = self.request_dict["properties"]
            self.request_dict["properties"] = {**properties, _CONTENT_TYPE: self.content_type}

    def info(self, safe: bool = False) -> dict[str, Any]:
        """Return what remote control tells of the task."""
        told: dict[str, Any] = super().info(safe=True)
        # Who enqueues without the class may have sent no texts.
        told["args"] = told["args"] or short_repr(self._args)
        told["kwargs"] = told["kwargs"] or short_repr(self._kwargs)
        return told


def came_in(request: Any) -> str | None:
    """Return the name of the serializer that a task's message was written in; None where that isn't known.

    Args:
        request: The task's Celery request.
    """
    name: str | None = registry.type_to_name.get((request.properties or {}).get(_CONTENT_TYPE))
    return name
