"""Celery's Redis backend for processes that look for results by themselves, as the page's views do.

Celery subscribes whoever enqueues to the result, in case somebody waits for it with `.get()`. Where Redis is away it
tries that for 20 s, to end in a RuntimeError. Here the subscription is made by whoever does wait. Any thread.
"""

from __future__ import annotations

from typing import Any

from celery.backends.redis import RedisBackend


class PolledRedis(RedisBackend):  # type: ignore[misc]
    """Results in Redis; enqueuing does nothing about them."""

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Leave it at that."""
