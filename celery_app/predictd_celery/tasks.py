"""The ready task: `predictd.predict`.

Owns its signature and what goes into and out of Celery's JSON. Deadline, retries and errors are `PredictTask`'s. It is
a shared task: it belongs to the ready app, and to any app that imports this module
(`include=["predictd_celery.tasks"]`). Runs in the thread that runs the task.
"""

# Celery has no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from celery import shared_task

from predictd import Prediction
from predictd_celery.predict_task import PredictTask
from predictd_celery.tensor_json import decode_arrays, encode_arrays, plain_numbers

PREDICT = "predictd.predict"
RESULTS = {"json": plain_numbers, "ndarray": encode_arrays}


class JsonPredictTask(PredictTask):
    """A predict task whose caller may pass arrays as they are."""

    abstract = True

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Enqueue the task; arrays among the arguments travel in their envelope."""
        return super().apply_async(encode_arrays(args), encode_arrays(kwargs), **options)


@shared_task(name=PREDICT, bind=True, base=JsonPredictTask)
def predict(  # noqa: PLR0913  (what a caller may want to say)
    self: JsonPredictTask,
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
        result: "json" for nested lists of numbers, "ndarray" for arrays in envelopes (`decode_arrays` opens them).
        receipt: Return `{"outputs": ..., "receipt": {...}}`: what was run, in which batch, for how long.
    """
    if result not in RESULTS:
        message = f"result={result!r}: expected one of {', '.join(RESULTS)}"
        raise ValueError(message)
    prediction = self.ask(
        model,
        decode_arrays(inputs),
        version=version,
        signature=signature,
        timeout_ms=timeout_ms,
        cast=cast,
    )
    return _payload(prediction, result, receipt=receipt)


def _payload(prediction: Prediction, result: str, *, receipt: bool) -> Any:
    outputs = RESULTS[result](prediction.outputs)
    return {"outputs": outputs, "receipt": asdict(prediction.receipt)} if receipt else outputs
