"""Many questions of one task: all under way at once, one outcome for each, in their order.

Owns their submission, their common end and what a failed one becomes in JSON. It decides on no retry. Runs in the
thread that runs the task; the client's own background thread has the requests.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import CancelledError, Future
from typing import Any

import predictd
from predictd_proto.errors import ConfigError, PredictdError, RequestCancelledError
from predictd_proto.facts import safe_facts

#: An item's answer, or why there is none.
Outcome = predictd.Prediction | PredictdError


def ask_each(
    client: predictd.Client, model: str, inputs: Iterable[Any], *, timeout_ms: float, words: Mapping[str, Any]
) -> list[Outcome]:
    """Ask for each of the inputs; return their outcomes.

    Args:
        client: Whom to ask.
        model: The model's name.
        inputs: What `predict` takes, again and again.
        timeout_ms: What all of them together may take, in milliseconds.
        words: The other arguments of `predict`, the same for all.

    Raises:
        ConfigError: One of `words` is wrong.
    """
    end_s = time.monotonic() + timeout_ms / 1000
    asked: list[Future[predictd.Prediction] | PredictdError] = []
    try:
        for item in inputs:
            left_ms = max((end_s - time.monotonic()) * 1000, 1.0)
            asked.append(_submitted(client, model, item, left_ms, words))
        return [_outcome(one) for one in asked]
    finally:
        # A soft limit's exception comes out of the waiting: what is queued at the daemon must not run then.
        for one in asked:
            if isinstance(one, Future):
                one.cancel()


def error_facts(error: PredictdError) -> dict[str, Any]:
    """Return an error as JSON carries it: all that a program in any language wants to know."""
    return {
        "type": type(error).__name__,
        "code": error.code,
        "message": error.message,
        "detail": safe_facts(error.detail),
        "is_retryable": error.is_retryable,
    }


def _submitted(
    client: predictd.Client, model: str, item: Any, left_ms: float, words: Mapping[str, Any]
) -> Future[predictd.Prediction] | PredictdError:
    try:
        return client.submit(model, item, timeout_ms=left_ms, **words)
    except ConfigError:
        raise
    except PredictdError as error:
        return error


def _outcome(asked: Future[predictd.Prediction] | PredictdError) -> Outcome:
    if isinstance(asked, PredictdError):
        return asked
    try:
        return asked.result()
    except ConfigError:
        raise
    except PredictdError as error:
        return error
    except CancelledError:
        return RequestCancelledError("the request was cancelled before its answer came")
