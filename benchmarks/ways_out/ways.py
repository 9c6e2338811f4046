"""The ways: how each starts its workers, and which app they run.

Owns the list, in the order of the table. It starts nothing.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Way:
    """One way out.

    Attributes:
        title: What people call it.
        app: Its module in `apps/`.
        pool: Celery's `--pool`.
        is_one_each: Several tasks at a time take as many workers; else one worker has that concurrency.
        has_children: Whether tasks run in children of the worker.
        is_loaded: Whether the model is there when the worker says that it is ready.
        has_daemon: Whether predictd has the model.
    """

    title: str
    app: str
    pool: str = "prefork"
    is_one_each: bool = False
    has_children: bool = False
    is_loaded: bool = True
    has_daemon: bool = False

    def processes(self, slots: int) -> int:
        """Return in how many processes so many tasks run at a time."""
        return slots if self.has_children or self.is_one_each else 1


WAYS = {
    "parent": Way("prefork, the model loaded in the parent", "at_import", has_children=True),
    "init": Way(
        "prefork, a model per child, in `worker_process_init`", "in_process_init", has_children=True, is_loaded=False
    ),
    "first": Way(
        "prefork, a model per child, with its first task", "with_first_task", has_children=True, is_loaded=False
    ),
    "solo": Way("solo, as many workers", "at_import", "solo", is_one_each=True),
    "threads": Way("threads", "at_import", "threads"),
    "gevent": Way("gevent", "at_import", "gevent"),
    "eventlet": Way("eventlet", "at_import", "eventlet"),
    "batches": Way("celery-batches, prefork, a model per child", "batches", has_children=True, is_loaded=False),
    "predictd": Way("**predictd**, prefork", "remote_model", has_children=True, has_daemon=True),
}
