"""The ready tasks: `predictd.predict`, `predictd.predict_many` and `predictd.status`.

Owns their signatures and what goes into and out of Celery's JSON. Deadline, retries and errors are `PredictTask`'s.
They are shared tasks: they belong to the ready app, and to any app that imports this module
(`include=["predictd_celery.tasks"]`). Run in the thread that runs the task.
"""

# Celery has no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from celery import shared_task

from predictd import Prediction
from predictd_celery.base_task import PredictTask, check_time_left, make_readable
from predictd_celery.claimed_trees import enveloped
from predictd_celery.item_answers import Outcome, error_facts
from predictd_celery.tensor_json import plain_numbers
from predictd_proto.errors import PredictdError
from predictd_proto.plain import to_plain

PREDICT = "predictd.predict"
PREDICT_MANY = "predictd.predict_many"
STATUS = "predictd.status"
RESULTS = {"json": plain_numbers, "ndarray": enveloped}


@shared_task(name=PREDICT, bind=True, base=PredictTask)
def predict(  # noqa: PLR0913  (what a caller may want to say)
    self: PredictTask,
    model: str,
    inputs: Any,
    *,
    version: int | str | None = None,
    signature: str | None = None,
    timeout_ms: float | None = None,
    cast: bool = False,
    result: Literal["json", "ndarray"] = "json",
    receipt: bool = False,
) -> Any:
    """Return a model's answer.

    Args:
        self: The task.
        model: The model's name.
        inputs: Nested lists of numbers, or arrays; in lists or dicts of them where the model takes several. Lists may
            widen (whole numbers where floats are asked), arrays must have the model's dtypes.
        version: A version number, a label, or None for the latest.
        signature: The signature's name; None for the model's default.
        timeout_ms: The most that the call may take, in milliseconds; the task's own limits hold as well.
        cast: Turn arrays of another dtype into the model's, as Keras does.
        result: "json" for nested lists of numbers, "ndarray" for arrays in envelopes, large ones in the app's
            claim store (`decode_arrays` opens them).
        receipt: Return `{"outputs": ..., "receipt": {...}}`: what was run, in which batch, for how long.
    """
    check_result(result)
    prediction = self.ask(
        model,
        inputs,
        version=version,
        signature=signature,
        timeout_ms=timeout_ms,
        cast=cast,
    )
    return _payload(prediction, result, receipt=receipt)


@shared_task(name=PREDICT_MANY, bind=True, base=PredictTask)
def predict_many(  # noqa: PLR0913  (as `predict`)
    self: PredictTask,
    model: str,
    inputs: list[Any],
    *,
    version: int | str | None = None,
    signature: str | None = None,
    timeout_ms: float | None = None,
    cast: bool = False,
    result: Literal["json", "ndarray"] = "json",
    receipt: bool = False,
) -> list[dict[str, Any]]:
    """Return a model's answers to many inputs, out of one message; the daemon merges them into batches.

    Args:
        self: The task.
        model: The model's name.
        inputs: A list of what `predict` takes.
        version: As in `predict`, like all that follow.
        signature: Likewise.
        timeout_ms: Likewise, for all of them together.
        cast: Likewise.
        result: Likewise.
        receipt: Likewise, in each answer.

    Returns:
        For each of the inputs `{"outputs": ...}`, or where that one failed
        `{"error": {"type", "code", "message", "detail", "is_retryable"}}`.
    """
    check_result(result)
    many: Any = inputs
    if not isinstance(many, (list, tuple)):
        message = f"inputs: expected a list with the inputs of each request, got {type(many).__name__}"
        raise TypeError(message)
    outcomes = self.ask_many(model, many, version=version, signature=signature, timeout_ms=timeout_ms, cast=cast)
    return [_item(outcome, result, receipt=receipt) for outcome in outcomes]


@shared_task(name=STATUS, bind=True, base=PredictTask)
def status(self: PredictTask, *, timeout_ms: float = 2000.0) -> Any:
    """Return all that the daemon tells of itself; fails at once where nobody answers, for that is an answer too.

    Args:
        self: The task.
        timeout_ms: The most that the call may take, in milliseconds.
    """
    deadline = self.deadline(timeout_ms)
    try:
        check_time_left(deadline)
        return to_plain(self.client.status(timeout_ms=deadline.remaining_ms))
    except PredictdError as error:
        make_readable(error, deadline)
        raise


def check_result(result: str) -> None:
    """Raise where there is no such kind of result."""
    if result not in RESULTS:
        message = f"result={result!r}: expected one of {', '.join(RESULTS)}"
        raise ValueError(message)


def _item(outcome: Outcome, result: str, *, receipt: bool) -> dict[str, Any]:
    try:
        if isinstance(outcome, PredictdError):
            raise outcome
        payload = _payload(outcome, result, receipt=receipt)
    except PredictdError as error:
        return {"error": error_facts(error)}
    return payload if receipt else {"outputs": payload}


def _payload(prediction: Prediction, result: str, *, receipt: bool) -> Any:
    outputs = RESULTS[result](prediction.outputs)
    return {"outputs": outputs, "receipt": asdict(prediction.receipt)} if receipt else outputs
