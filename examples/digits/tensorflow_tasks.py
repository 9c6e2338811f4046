"""The way out that most people take: TensorFlow and the model once more in each of the worker's children.

Owns nothing that predictd needs; the demo runs it to measure what it costs.
"""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import functools
import os
import time
from typing import Any

import numpy as np
from celery import Celery

app = Celery("digits", broker=os.environ["PREDICTD_BROKER_URL"], backend=os.environ["PREDICTD_BROKER_URL"])


@functools.cache
def model() -> Any:
    """Return this child's own model."""
    import keras

    return keras.models.load_model(os.environ["DIGITS_MODEL"])


@app.task
def recognise(image: list[list[list[float]]]) -> tuple[int, float, int]:
    """Return the digit in a picture, how long `predict` took, and which process it was."""
    own_model = model()
    started_s = time.perf_counter()
    scores = own_model.predict(np.array([image]), verbose=0)
    predict_ms = (time.perf_counter() - started_s) * 1000
    return int(scores[0].argmax()), predict_ms, os.getpid()
