"""The tasks of `array_tasks.py` as another process enqueues them: with their classes, bound to an app of the test."""

from __future__ import annotations

from typing import Any

from celery import Celery

from predictd_celery import ArrayTask

_OPTIONS: dict[str, dict[str, Any]] = {
    "doubled": {},
    "joined": {},
    "shape_of": {},
    "used_up": {"delete_claims": True},
}


def elsewhere(*_: Any) -> None:
    """Stands for the functions, which are the worker's."""
    raise NotImplementedError


def tasks_of(app: Celery) -> dict[str, Any]:
    """Return the tasks that an app may enqueue."""
    return {
        name: app.task(elsewhere, name=f"tests.celery.array_tasks.{name}", base=ArrayTask, shared=False, **options)
        for name, options in _OPTIONS.items()
    }
