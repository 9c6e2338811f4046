"""The digits model behind FastAPI, asked by the async client: `uvicorn examples.fastapi_digits:app`.

    curl -H 'Content-Type: application/json' -d '{"image": [[0, 0, 1, ...], ...]}' http://127.0.0.1:8000/digits

Owns one address, its limits, and which of predictd's errors is which status. Runs on the server's event loop.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import numpy as np
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError

import predictd

logger = logging.getLogger(__name__)

MOST_BYTES = 16 * 1024
#: Whoever asks over HTTP waits for a second or two, and then rather asks again.
client = predictd.AsyncClient(timeout_ms=2000, connect_timeout_ms=500)

# The bounds refuse NaN too.
Grey = Annotated[float, Field(ge=0, le=1)]
Row = Annotated[list[Grey], Field(min_length=8, max_length=8)]


class Question(BaseModel):
    """A digit as 8 by 8 grey values: 0 for paper, 1 for ink."""

    image: Annotated[list[Row], Field(min_length=8, max_length=8)]


class Answer(BaseModel):
    """The digit, how likely each one is, and which version of the model says so."""

    digit: int
    scores: list[float]
    version: int


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Close the client's connections when the server ends."""
    async with client:
        yield


async def question(request: Request) -> Question:
    """Read the question, and no more of it than a question may have."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise HTTPException(413, f"a question has at most {MOST_BYTES} bytes")
    try:
        return Question.model_validate_json(bytes(body))
    except ValidationError as error:
        # Without the input: NaN, which may be in it, is no JSON.
        raise HTTPException(422, error.errors(include_input=False, include_url=False, include_context=False)) from None


app = FastAPI(title="digits", lifespan=lifespan)


@app.post("/digits")
async def digits(question: Annotated[Question, Depends(question)]) -> Answer:
    """Say which digit it is."""
    image = np.array(question.image, np.float32)
    prediction = await client.predict("digits", image.reshape(1, 8, 8, 1))
    scores = prediction.outputs[0].tolist()
    return Answer(digit=int(np.argmax(scores)), scores=scores, version=prediction.receipt.version)


@app.exception_handler(predictd.DeadlineExceededError)
async def too_late(request: Request, error: predictd.DeadlineExceededError) -> JSONResponse:
    """Tell that the time is up: 504."""
    return JSONResponse({"detail": "the model did not answer in time"}, 504)


@app.exception_handler(predictd.RetryableError)
async def away(request: Request, error: Any) -> JSONResponse:
    """Tell that the model is away, busy or loading, and when to ask again: 503."""
    seconds = max(1, math.ceil((error.retry_after_ms or 0) / 1000))
    return JSONResponse({"detail": "the model is away or busy"}, 503, headers={"Retry-After": str(seconds)})


@app.exception_handler(predictd.PredictdError)
async def failed(request: Request, error: predictd.PredictdError) -> JSONResponse:
    """Tell that asking again won't help: 502. The question was a right one, so it is for whoever runs the site."""
    logger.error("%s: %s", type(error).__name__, error)
    return JSONResponse({"detail": "the model can't answer; the site's log says why"}, 502)
