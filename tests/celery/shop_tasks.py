"""A user's Celery app whose tasks ask a fake daemon, as the worker of some tests loads it: no TensorFlow anywhere."""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
from celery import Celery

import predictd
from predictd_celery import DaemonHealth, PredictTask, model_task, predict_task

app = Celery(
    "shop",
    broker=os.environ["PREDICTD_BROKER_URL"],
    backend=os.environ["PREDICTD_BROKER_URL"],
    include=["predictd_celery.tasks"],
)
app.conf.update(
    broker_connection_retry_on_startup=True,
    worker_soft_shutdown_timeout=float(os.environ.get("SOFT_SHUTDOWN_S", "0")),
    worker_prefetch_multiplier=1,
)
app.steps["consumer"].add(DaemonHealth)

digits = model_task("digits", app=app)


@predict_task("digits", app=app)
def digit(prediction: predictd.Prediction, plus: int = 0) -> Any:
    """Return the best digit, in numpy's own kind of number."""
    return prediction.outputs[0].argmax() + plus


@app.task(base=PredictTask, bind=True)
def ask_for_one(self: PredictTask, wakes_at: float) -> Any:
    """Ask the model that sleeps, and know nothing of this task's limits: they fire before the answer's deadline."""
    self.request.timelimit = None
    return self.ask("sleeper", np.array([wakes_at], np.float32))


@app.task(base=PredictTask, bind=True)
def ask_for_many(self: PredictTask, wakes_at: float) -> Any:
    """Likewise."""
    self.request.timelimit = None
    return self.ask_many("sleeper", [np.array([wakes_at], np.float32)])[0]


@app.task
def total(numbers: list[int]) -> int:
    """Add up what the tasks of a chord have returned."""
    return sum(numbers)


@app.task
def nap(seconds: float) -> str:
    """Take some time without the daemon, and say when that begins."""
    logging.getLogger(__name__).warning("napping")
    time.sleep(seconds)
    return "rested"


@app.task(base=PredictTask, max_retries=None, lost_child_delay_s=0)
def kill_children(count: int, path: str) -> int:
    """Kill the child that runs this, as a decoder that crashes does, so many times; return how often it has run."""
    with Path(path).open("ab") as log:
        log.write(b".")
    runs = Path(path).stat().st_size
    if runs <= count:
        os.kill(os.getpid(), signal.SIGKILL)
    return runs


@app.task
def import_tensorflow() -> str:
    """Do what no task should."""
    import tensorflow

    return str(tensorflow.__file__)
