"""A Celery app that recognises digits. One line of it knows of predictd."""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import os

import numpy as np
from celery import Celery

import predictd

app = Celery("digits", broker=os.environ["PREDICTD_BROKER_URL"], backend=os.environ["PREDICTD_BROKER_URL"])

# was: model = keras.models.load_model("digits.keras")
model = predictd.RemoteModel("digits")


@app.task
def recognise(image: list[list[list[float]]]) -> int:
    """Return the digit in a picture of 8 by 8 grey values."""
    scores = model.predict(np.array([image]), verbose=0)
    return int(scores[0].argmax())
