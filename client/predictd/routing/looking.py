"""Looking: questions about servers (what they serve, whether they are ready), as every kind of client asks them.

Owns what becomes of the answers. Where and how often is asked is `asking.py`'s. A thread that may block.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from predictd.deadline import Deadline
from predictd.requests.catalogue import choose_version, unknown_model
from predictd.routing.asking import Asking
from predictd.wording import restated
from predictd_proto.errors import (
    DeadlineExceededError,
    ModelNotFoundError,
    ModelNotReadyError,
    PredictdError,
    RetryableError,
    ServerUnavailableError,
)
from predictd_proto.metadata import ModelMetadata
from predictd_proto.quantities import seconds_text
from predictd_proto.status import ServerStatus

#: Between two looks at a server that is not ready yet.
_READY_PAUSE_MS = 100

#: A look with so much time reaches every server that is there.
_FULL_LOOK_MS = 1_000


def served_models(asking: Asking, model: str | None, deadline: Deadline) -> tuple[ModelMetadata, ...]:
    """Return what is served, by name, newest version first.

    Args:
        asking: Whom to ask.
        model: Only this one's versions.
        deadline: Until when.

    Raises:
        ModelNotFoundError: There is no such model.
        PredictdError: It could not be found out.
    """
    found = asking.models(model, deadline)
    if model is not None and not any(metadata.name == model for metadata in found):
        raise unknown_model(found, model)
    return tuple(sorted(found, key=lambda metadata: (metadata.name, -metadata.version)))


def wait_until_ready(
    asking: Asking, model: str | None, deadline: Deadline, *, sleep: Callable[[float], object] | None = None
) -> ServerStatus:
    """Wait until a server takes requests, and return its status.

    Args:
        asking: Whom to ask.
        model: Wait until this model is ready, even if others are not.
        deadline: Until when.
        sleep: Waits for seconds between two looks; None for `time.sleep`, patched or not.

    Raises:
        PredictdError: None was ready in time, or waiting is in vain.
    """
    reason: PredictdError | None = None
    while True:
        look_ms = deadline.remaining_ms
        try:
            return asking.any_ready(lambda status: _checked_ready(status, model), deadline)
        except (RetryableError, DeadlineExceededError) as error:
            # A last look in a hurry reaches nobody, or not all who are there: the one before it knew better.
            is_nobody = isinstance(reason, (ServerUnavailableError, DeadlineExceededError))
            found_more = is_nobody and not isinstance(error, ServerUnavailableError)
            is_telling = look_ms >= _FULL_LOOK_MS or found_more
            if reason is None or (is_telling and isinstance(error, RetryableError)):
                reason = error
            if deadline.remaining_ms <= _READY_PAUSE_MS:
                raise _not_ready_in_time(reason, deadline) from error
        (sleep or time.sleep)(_READY_PAUSE_MS / 1000)


def _checked_ready(status: ServerStatus, model: str | None) -> ServerStatus:
    if model is not None:
        try:
            choose_version(status.models, model)
        except ModelNotFoundError:
            if status.is_ready:
                raise
        else:
            return status
    if not status.is_ready:
        text = f"the server at {status.endpoint} is {status.state}"
        raise ModelNotReadyError(text, {"state": status.state})
    return status


def _not_ready_in_time(error: PredictdError, deadline: Deadline) -> PredictdError:
    if not isinstance(error, RetryableError) or isinstance(error, ServerUnavailableError):
        return error
    return restated(error, f"not ready within {seconds_text(deadline.waited_ms)}: {error.message}")
