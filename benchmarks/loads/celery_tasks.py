"""The tasks of the Celery section: `celery -A benchmarks.loads.celery_tasks worker`.

The ready app, and beside its own task those that ask nobody: what Celery and its broker take without any model.
"""

# Celery has no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import os
import time
from typing import Any

from benchmarks.loads.bare_tasks import WAKE, WAKE_S
from predictd_celery import PredictTask
from predictd_celery.application import app

NOTHING, ANSWER = "benchmarks.nothing", "benchmarks.answer"
ANSWER_WIDTH = 10


@app.task(name=NOTHING)
def nothing() -> None:
    """Do nothing."""


@app.task(name=ANSWER)
def answer(model: str, inputs: Any) -> list[list[float]]:
    """Return as many numbers as the model would, without asking anybody."""
    return [[0.1] * ANSWER_WIDTH]


@app.task(name=WAKE, base=PredictTask, bind=True)
def wake(self: PredictTask, model: str, inputs: Any) -> int:
    """Ask, and be busy for long enough that other children get their tasks too; return the child's process id."""
    self.ask(model, inputs)
    time.sleep(WAKE_S)
    return os.getpid()
