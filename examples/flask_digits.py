"""The digits model behind Flask, asked by the blocking client: `gunicorn --preload examples.flask_digits:app`.

    curl -H 'Content-Type: application/json' -d '{"image": [[0, 0, 1, ...], ...]}' http://127.0.0.1:8000/digits

Owns one address, its limits, and which of predictd's errors is which status. The client is made before gunicorn forks
and connects in each worker by itself. Runs in whichever thread or process the server has for requests.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from flask import Flask, Response, abort, jsonify, request
from numpy.typing import NDArray

import predictd

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 16 * 1024
#: Whoever asks over HTTP waits for a second or two, and then rather asks again.
client = predictd.Client(timeout_ms=2000, connect_timeout_ms=500)


@app.post("/digits")
def digits() -> Response:
    """Say which digit `{"image": ...}` is, as 8 by 8 grey values: 0 for paper, 1 for ink."""
    prediction = client.predict("digits", _image().reshape(1, 8, 8, 1))
    scores = prediction.outputs[0].tolist()
    return jsonify(digit=int(np.argmax(scores)), scores=scores, version=prediction.receipt.version)


def _image() -> NDArray[np.float32]:
    try:
        image = np.array(request.get_json()["image"], np.float32)
    except (KeyError, OverflowError, RecursionError, TypeError, ValueError):
        image = np.empty(0, np.float32)
    # No comparison holds for NaN.
    if image.shape != (8, 8) or not ((image >= 0) & (image <= 1)).all():
        abort(422, 'expected {"image": ...} with 8 rows of 8 numbers from 0 to 1')
    return image


@app.errorhandler(predictd.DeadlineExceededError)
def too_late(error: predictd.DeadlineExceededError) -> tuple[dict[str, str], int]:
    """Tell that the time is up: 504."""
    return {"detail": "the model did not answer in time"}, 504


@app.errorhandler(predictd.RetryableError)
def away(error: Any) -> tuple[dict[str, str], int, dict[str, str]]:
    """Tell that the model is away, busy or loading, and when to ask again: 503."""
    seconds = max(1, math.ceil((error.retry_after_ms or 0) / 1000))
    return {"detail": "the model is away or busy"}, 503, {"Retry-After": str(seconds)}


@app.errorhandler(predictd.PredictdError)
def failed(error: predictd.PredictdError) -> tuple[dict[str, str], int]:
    """Tell that asking again won't help: 502. The question was a right one, so it is for whoever runs the site."""
    app.logger.error("%s: %s", type(error).__name__, error)
    return {"detail": "the model can't answer; the site's log says why"}, 502


@app.errorhandler(400)
@app.errorhandler(413)
@app.errorhandler(415)
@app.errorhandler(422)
def refused(error: Any) -> tuple[dict[str, str], int]:
    """Tell what is wrong with the question, as JSON."""
    return {"detail": error.description}, error.code
