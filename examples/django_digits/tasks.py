"""The site's only task: what digit is this?"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from examples.django_digits.celery import app
from predictd import Client, Prediction
from predictd_celery import RetryPolicy, predict_task

#: Nobody waits longer; the page's script is told the same number.
PATIENCE_S = 60


# A person is waiting: where predictd is away the page has to say so soon. Celery tries again until the task expires.
@predict_task(
    "digits",
    app=app,
    client=Client(timeout_ms=5000, connect_timeout_ms=500),
    expires=PATIENCE_S,
    max_retries=None,
    retry_policy=RetryPolicy(max_delay_s=2),
)
def recognise(prediction: Prediction) -> dict[str, Any]:
    """Return how likely each digit is for one picture, and the receipt.

    Raises:
        ValueError: The model's answer is no number: JSON has none such.
    """
    scores = prediction.outputs[0]
    if not np.isfinite(scores).all():
        message = f"digits version {prediction.receipt.version}: expected scores that are finite, got {scores}"
        raise ValueError(message)
    return {"scores": scores, "receipt": asdict(prediction.receipt)}
