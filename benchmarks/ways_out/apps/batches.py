"""celery-batches: the worker's parent gathers tasks, and a child with a model of its own runs them as one batch."""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

from typing import Any

from celery_batches import Batches

from benchmarks.ways_out.apps.own_model import own_model
from benchmarks.ways_out.apps.tasks import (
    HARD_LIMIT_S,
    OVERRUN,
    SOFT_LIMIT_S,
    WORDS,
    add_tasks,
    new_app,
    overrun,
    scores,
)

#: So that a batch for each of four children is under way where 32 tasks are.
FLUSH_EVERY, FLUSH_INTERVAL_S = 8, 0.05

app = new_app()
add_tasks(app, own_model, are_asking=False)


def add_batched(name: str) -> None:
    """Add a task that asks with one of the words."""

    @app.task(name=name, base=Batches, flush_every=FLUSH_EVERY, flush_interval=FLUSH_INTERVAL_S)
    def ask(requests: list[Any]) -> None:
        answers = scores(own_model(), name, [row for request in requests for row in request.args[0]])
        # A task of one row, as all of them are here.
        for request, answer in zip(requests, answers, strict=True):
            app.backend.mark_as_done(request.id, [answer], request=request)


for word in WORDS:
    add_batched(word)


@app.task(
    name=OVERRUN,
    base=Batches,
    flush_every=1,
    flush_interval=FLUSH_INTERVAL_S,
    soft_time_limit=SOFT_LIMIT_S,
    time_limit=HARD_LIMIT_S,
)
def run_over(requests: list[Any]) -> None:
    """Predict for too long; the task's own exception is its result, as celery-batches leaves that to the task."""
    for request in requests:
        try:
            app.backend.mark_as_done(request.id, overrun(own_model(), request.args[0]), request=request)
        except Exception as error:
            app.backend.mark_as_failure(request.id, error, request=request)
