"""The digits tasks, with what the demo wants to know beside the answer.

Owns the measuring inside the children. It is loaded next to `tasks.py`, whose task stays as a user would write it.
"""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import time
from typing import Any

import numpy as np

import predictd
from examples.digits.tasks import app

client = predictd.Client()


@app.task
def recognise_with_receipt(image: list[list[list[float]]]) -> dict[str, Any]:
    """Return a digit's scores, how long `predict` took here, and how many digits were in its batch."""
    started_s = time.perf_counter()
    prediction = client.predict("digits", np.array([image], np.float32))
    predict_ms = (time.perf_counter() - started_s) * 1000
    return {
        "scores": np.asarray(prediction.outputs)[0].tolist(),
        "predict_ms": predict_ms,
        "batch_rows": prediction.receipt.batch_rows,
    }


@app.task
def nothing(image: list[list[list[float]]]) -> None:
    """Do nothing with the same argument: what a task costs by itself."""
