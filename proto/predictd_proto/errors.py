"""The one tree of errors, and the one table between wire codes and classes.

Owns every exception that predictd raises on purpose. It decides nothing about when they are raised. Any thread.

    PredictdError
      ConfigError                       a setting is wrong
      ModelLoadError                    a model file can't be served
      ProtocolError
        LocalProtocolError              our caller built a message that the wire can't carry
        RemoteProtocolError             the peer sent one that can't be read
          ProtocolVersionError          the two sides speak different versions
      TransportError
        ServerUnavailableError   (R)    nobody answers at the endpoint
        ServerLostError          (R)    the server went away with the request
      DeadlineExceededError             the time is up; the request may have run (also a TimeoutError)
        ExpiredInQueueError      (R)    the time was up before it ran
      RemoteError                       the server answered with an error
        InvalidRequestError
          ModelNotFoundError, VersionNotFoundError, SignatureNotFoundError, TensorMismatchError, RequestTooLargeError
        OverloadedError          (R)    the queue is full; `retry_after_ms`
        ModelNotReadyError       (R)    still loading
        ServerDrainingError      (R)    shutting down
        SegmentRefusedError      (R)    shared memory can't be had; clients send the tensors instead, by themselves
        RequestCancelledError           its own client cancelled it
        PredictionError                 the model raised for this request
        InternalServerError             a fault in the server; details are in its log
      ClaimError                        an array that was kept out of a message can't be put away or brought back
        ClaimExpiredError               it is gone
        ClaimStoreUnavailableError (R)  where it is kept can't be reached, or is full
      ScoreError                        bulk scoring can't go on: an unreadable row, a folder in use, changed inputs

(R) marks a `RetryableError`: the same call may succeed later, and `predict` is idempotent. Everything else is
permanent. All arguments are positional, so that every error survives pickling (Celery's prefork pool pickles them).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar


class PredictdError(Exception):
    """Root of the tree.

    Args:
        message: What, where, expected, got, and what to do next.
        detail: JSON-safe facts for programs, such as `retry_after_ms`.

    Attributes:
        code: The error's name on the wire.
        message: The text.
        detail: The facts; empty when there are none.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str, detail: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail: dict[str, Any] = dict(detail or {})

    # TimeoutError, a base of one subclass, brings OSError's own idea of both of these.
    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.message, self.detail))

    @property
    def is_retryable(self) -> bool:
        """Whether the same call may succeed later."""
        return isinstance(self, RetryableError)

    @property
    def retry_after_ms(self) -> int | None:
        """The server's own estimate of when a retry is worth it, in milliseconds; None when it gave none."""
        value = self.detail.get("retry_after_ms")
        # A peer may have sent anything, True, NaN and infinity among them.
        if type(value) is not int and type(value) is not float:
            return None
        return int(value) if 0 <= value < math.inf else None


class RetryableError(PredictdError):
    """Mixed into errors after which the same call may succeed; one class for Celery's `autoretry_for`."""


class ConfigError(PredictdError):
    """A setting is unknown, inert or out of range; the text names it and where it came from."""

    code = "config"


class ModelLoadError(PredictdError):
    """A model file or directory can't be served; the text says why."""

    code = "model_load"


class ProtocolError(PredictdError):
    """Base of what can be wrong with a message."""

    code = "protocol"


class LocalProtocolError(ProtocolError):
    """Our own caller built a message that the wire can't carry (dtype, rank, size)."""

    code = "local_protocol"


class RemoteProtocolError(ProtocolError):
    """The peer sent a message that can't be read."""

    code = "malformed"


class ProtocolVersionError(RemoteProtocolError):
    """The two sides speak different protocol versions; `detail` holds `ours`, `theirs` and `older`."""

    code = "protocol_version"


class TransportError(PredictdError):
    """Base of what can be wrong with the way between client and server."""

    code = "transport"


class ServerUnavailableError(TransportError, RetryableError):
    """Nobody answered at the endpoint within the connect timeout."""

    code = "server_unavailable"


class ServerLostError(TransportError, RetryableError):
    """The server had the request and went away; whether it ran is unknown."""

    code = "server_lost"


class DeadlineExceededError(PredictdError, TimeoutError):
    """The caller's time is up; the request may still run, or have run."""

    code = "deadline_exceeded"


class ExpiredInQueueError(DeadlineExceededError, RetryableError):
    """The request's time was up before its turn came; it did not run."""

    code = "expired_in_queue"


class RemoteError(PredictdError):
    """The server answered with an error; also stands for codes of a newer server that this client doesn't know."""

    code = "remote"


class InvalidRequestError(RemoteError):
    """The request can't be served as it is; sending it again won't help."""

    code = "invalid_request"


class ModelNotFoundError(InvalidRequestError):
    """No model of that name is served here."""

    code = "model_not_found"


class VersionNotFoundError(InvalidRequestError):
    """The model is served, but not that version or label."""

    code = "version_not_found"


class SignatureNotFoundError(InvalidRequestError):
    """The model has no signature of that name."""

    code = "signature_not_found"


class TensorMismatchError(InvalidRequestError):
    """A tensor's name, dtype or shape is not what the signature asks; the text names it, expected and got."""

    code = "tensor_mismatch"


class RequestTooLargeError(InvalidRequestError):
    """The request is over one of the announced limits."""

    code = "request_too_large"


class OverloadedError(RemoteError, RetryableError):
    """The queue is full; try again after `retry_after_ms`."""

    code = "overloaded"


class ModelNotReadyError(RemoteError, RetryableError):
    """The model is known but still loading or warming up."""

    code = "model_not_ready"


class ServerDrainingError(RemoteError, RetryableError):
    """The server is shutting down and takes no more work."""

    code = "draining"


class SegmentRefusedError(RemoteError, RetryableError):
    """The server can't map memory that the request refers to; the client sends the tensors in frames instead."""

    code = "segment_refused"


class RequestCancelledError(RemoteError):
    """The request was cancelled by its own client before it ran."""

    code = "cancelled"


class PredictionError(RemoteError):
    """The model itself raised for this request."""

    code = "prediction_failed"


class InternalServerError(RemoteError):
    """A fault in the server; the text gives the reference under which its log has the details."""

    code = "internal"


class ClaimError(PredictdError):
    """An array that was kept out of a Celery message can't be put into its store, or is not what was put there."""

    code = "claim"


class ClaimExpiredError(ClaimError):
    """An array that was kept out of a Celery message is gone; `detail` holds `expires_at` and `bytes`."""

    code = "claim_expired"


class ClaimStoreUnavailableError(ClaimError, RetryableError):
    """The store for arrays that are kept out of messages can't be reached, or is full."""

    code = "claim_store_unavailable"


class ScoreError(PredictdError):
    """Bulk scoring can't go on; what is done is kept, and the text says how to go on from there."""

    code = "score"


def _walk(root: type[PredictdError]) -> list[type[PredictdError]]:
    found = [root]
    for child in root.__subclasses__():
        found.extend(_walk(child))
    return found


#: The one table: code on the wire -> class. `RetryableError` is a mixin, not an error of its own.
ERROR_CLASSES: dict[str, type[PredictdError]] = {
    error.code: error for error in _walk(PredictdError) if error is not RetryableError
}


# Tracebacks, logs and trackers show the name that callers import it by.
for _class in (*ERROR_CLASSES.values(), RetryableError):
    _class.__module__ = "predictd"


def error_from_code(code: str, message: str, detail: Mapping[str, Any] | None = None) -> PredictdError:
    """Return the error that a code on the wire stands for.

    A code from a newer server that this build doesn't know becomes a `RemoteError` that carries it in `detail`.
    """
    known = ERROR_CLASSES.get(code)
    if known is None:
        return RemoteError(message, {**(detail or {}), "code": code})
    return known(message, detail)
