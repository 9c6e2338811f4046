"""A user's own Celery app, as the worker of some tests loads it: `celery -A tests.celery.user_tasks`.

It does what users do: it makes its model and client at import and, with USE_IN_PARENT set, even uses them there, before
the worker forks.
"""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded

import predictd
from predictd_celery import PredictTask

app = Celery(
    "user",
    broker=os.environ["PREDICTD_BROKER_URL"],
    backend=os.environ["PREDICTD_BROKER_URL"],
    include=["predictd_celery.tasks"],
)
app.conf.broker_connection_retry_on_startup = True

model = predictd.RemoteModel("mlp")
client = predictd.Client()

if os.environ.get("USE_IN_PARENT"):
    model.predict(np.zeros((1, 64), np.float32), verbose=0)
    client.predict("mlp", np.zeros((1, 64), np.float32))


@app.task
def scores_and_pid(row: list[float]) -> tuple[list[float], int]:
    """Return what the model says about a row, and which child has asked."""
    return model.predict(np.array([row]), verbose=0)[0].tolist(), os.getpid()


@app.task
def loaded_modules_and_maps() -> tuple[int, list[str], str]:
    """Return this child's pid, its loaded top-level modules and its mapped files, after a predict."""
    model.predict(np.zeros((1, 64), np.float32), verbose=0)
    return os.getpid(), sorted({name.partition(".")[0] for name in sys.modules}), Path("/proc/self/maps").read_text()


@app.task
def sleep_in_predict(seconds: float) -> str:
    """Ask the model that sleeps, in a task that knows nothing of deadlines; say how it ended."""
    try:
        client.predict("sleeper", np.array([100.0 + seconds], np.float32))
    except SoftTimeLimitExceeded:
        return "soft time limit"
    return "answered"


@app.task(base=PredictTask, bind=True)
def sleep_first(self: PredictTask, before_s: float, inside_s: float) -> Any:
    """Use up some of the task's time before asking."""
    time.sleep(before_s)
    return self.ask("sleeper", np.array([100.0 + inside_s], np.float32)).outputs.tolist()
