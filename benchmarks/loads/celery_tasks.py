"""The tasks of the Celery section: `celery -A benchmarks.loads.celery_tasks worker`.

The ready app, and beside its own task one that answers at once: what Celery and its broker take without any model.
"""

# Celery has no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from typing import Any

from predictd_celery.application import app

ANSWER = "benchmarks.answer"
ANSWER_WIDTH = 10


@app.task(name=ANSWER)
def answer(model: str, inputs: Any) -> list[list[float]]:
    """Return as many numbers as the model would, without asking anybody."""
    return [[0.1] * ANSWER_WIDTH]
