"""What the page shows of a task: its answer, or how things stand, in words for whoever drew the digit.

Owns these words. It reads what Celery's result backend holds of one task, and asks nobody. Any thread.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from celery import states
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

from predictd import DeadlineExceededError, ModelNotReadyError, OverloadedError, PredictdError, RetryableError

#: The call's own limit, and Celery's two.
_TOO_LATE = (DeadlineExceededError, SoftTimeLimitExceeded, TimeLimitExceeded)

logger = logging.getLogger(__name__)

#: Why a task is asking again, by what it met.
_WAITING: tuple[tuple[type[PredictdError], str], ...] = (
    (OverloadedError, "The model is busy. Your drawing is asked about again in a moment."),
    (ModelNotReadyError, "The model is being loaded. Your drawing is asked about again in a moment."),
    (RetryableError, "The model's server is away. Your drawing is asked about again until it is back."),
)


def shown(task_id: str, meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return what to tell the page.

    Args:
        task_id: Which task, for the log.
        meta: Celery's `backend.get_task_meta(task_id)`.
    """
    state, result = meta["status"], meta["result"]
    if state == states.SUCCESS:
        return {"state": "done", **result}
    if state == states.STARTED:
        return {"state": "waiting", "message": "The model is asked…"}
    if state == states.RETRY:
        return {"state": "retrying", "message": _waiting(result)}
    if state in states.EXCEPTION_STATES:
        # The site's own log has the reason in full; the page tells no stranger about the inside.
        logger.error("task %s: %s: %s", task_id, type(result).__name__, result)
        return {"state": "failed", "message": _failed(state, result)}
    # Celery knows no difference between a task that waits and one that never was.
    return {"state": "queued", "message": "Waiting for a worker…"}


def _waiting(error: object) -> str:
    return next((text for kind, text in _WAITING if isinstance(error, kind)), _WAITING[-1][1])


def _failed(state: str, error: object) -> str:
    if state == states.REVOKED:
        return "No worker had time for your drawing. Please try again."
    if isinstance(error, _TOO_LATE):
        return "The model took too long. Please try again."
    if isinstance(error, RetryableError):
        return "The model's server did not come back in time. Please try again later."
    return "Something went wrong; the site's log says what."
