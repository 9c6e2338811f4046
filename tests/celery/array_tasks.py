"""An app whose tasks take and return arrays, as some tests' workers load it: `celery -A tests.celery.array_tasks`.

SERIALIZER says what its results are written in and, for JSON, that it takes nothing else.
"""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import os
from typing import Any

import ml_dtypes
import numpy as np
from celery import Celery

from predictd_celery import ArrayTask
from predictd_celery.config import result_url

SERIALIZER = os.environ.get("SERIALIZER", "predictd")

BROKER_URL = os.environ["PREDICTD_BROKER_URL"]
app = Celery("arrays", broker=BROKER_URL, backend=result_url(BROKER_URL))
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_serializer=SERIALIZER,
    result_serializer=SERIALIZER,
    accept_content=[SERIALIZER] if SERIALIZER == "json" else ["json", SERIALIZER],
)


@app.task
def echo(*args: Any, **kwargs: Any) -> Any:
    """Return what came; of arrays in the claim store that is a claim."""
    return args, kwargs


@app.task(base=ArrayTask)
def described(value: Any) -> list[Any]:
    """Say what an array is when it gets to a task, and whether it may be written to."""
    value += 1
    return [type(value).__name__, value.dtype.name, list(value.shape), float(value.sum())]


@app.task
def total(value: Any) -> float:
    """Use an array in a task that knows nothing of claims."""
    return float((value * 2).sum())


@app.task(base=ArrayTask)
def doubled(value: Any) -> Any:
    """Return an array as large as what came."""
    return value * 2


@app.task(base=ArrayTask)
def joined(values: list[Any]) -> Any:
    """Return arrays one after the other."""
    return np.concatenate(values)


@app.task(base=ArrayTask)
def shape_of(value: Any) -> str:
    """Say what a task got from the one before."""
    return f"{type(value).__name__} {getattr(value, 'dtype', '')} {np.shape(value)}"


@app.task(base=ArrayTask, delete_claims=True)
def used_up(value: Any) -> float:
    """Use arguments that nobody needs afterwards."""
    return float(value.sum())


@app.task
def numbers(kind: str) -> Any:
    """Return numpy's types as they come out of a computation."""
    return {
        "float32": np.float32(1.5),
        "int64": np.int64(3),
        "bool": np.bool_(True),
        "bfloat16": ml_dtypes.bfloat16(1.5),
        "array": np.arange(4, dtype=np.float32).reshape(2, 2),
        "bfloat16s": np.array([1.5, 2], ml_dtypes.bfloat16),
        "0-d": np.array(2.5),
        "text": np.array(["a", "b"]),
        "tree": {"best": np.int32(7), "scores": [np.float32(0.25), (np.uint8(1),)]},
    }[kind]


@app.task(base=ArrayTask)
def counts(values: list[int]) -> Any:
    """Return a dict whose keys are numpy's."""
    return dict(zip(*np.unique(values, return_counts=True), strict=True))


@app.task
def failing(*args: Any) -> None:
    """Fail with an error that holds all kinds of arguments."""
    raise LookupError(*args)
