"""The disease: the model is loaded in the worker's parent, and its forked children ask it.

Owns nothing that predictd needs; `hang.py` runs it to show what happens. DIGITS_CASE says what the parent does with the
model before it forks.
"""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import faulthandler
import os
import signal
from pathlib import Path

import keras
import numpy as np
from celery import Celery
from celery.signals import worker_process_init

app = Celery("digits", broker=os.environ["PREDICTD_BROKER_URL"], backend=os.environ["PREDICTD_BROKER_URL"])
case = os.environ["DIGITS_CASE"]

if case == "one-thread":
    import tensorflow

    tensorflow.config.threading.set_intra_op_parallelism_threads(1)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)

model = keras.models.load_model(os.environ["DIGITS_MODEL"])
blank = np.zeros((1, 8, 8, 1), np.float32)
if case == "called":
    model(blank)
if case in {"predicted", "one-thread"}:
    model.predict(blank, verbose=0)


@worker_process_init.connect
def watch_stack(**_: object) -> None:
    """Let SIGUSR2 write this child's Python stack to a file, whatever the child is stuck in."""
    directory = Path(os.environ["DIGITS_STACKS"])
    faulthandler.register(signal.SIGUSR2, (directory / f"{os.getpid()}.stack").open("w"))


@app.task
def recognise(image: list[list[list[float]]]) -> int:
    """Return the digit in a picture of 8 by 8 grey values."""
    scores = model.predict(np.array([image]), verbose=0)
    return int(scores[0].argmax())
