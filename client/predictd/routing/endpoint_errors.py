"""The error of a call that several endpoints have failed: one class, and each endpoint with its reason.

Owns which of their errors the caller gets and what its text says. Any thread.
"""

from __future__ import annotations

from collections.abc import Mapping

from predictd.requests.link import Link
from predictd_proto.errors import (
    ModelNotFoundError,
    ModelNotReadyError,
    OverloadedError,
    PredictdError,
    ServerDrainingError,
    ServerLostError,
    ServerUnavailableError,
    VersionNotFoundError,
)

#: What tells the caller most, first: the request may have run; somebody is there; nobody is. That one server doesn't
#: have the model comes last: it is so as a whole only when all of them say it.
_TELLING: tuple[type, ...] = (
    ServerLostError,
    OverloadedError,
    ModelNotReadyError,
    ServerDrainingError,
    ServerUnavailableError,
    VersionNotFoundError,
    ModelNotFoundError,
)


def combined(errors: Mapping[Link, PredictdError]) -> PredictdError:
    """Return one error for several endpoints, in the class that tells most; a single one is returned as it is.

    Args:
        errors: The last error of each endpoint that was asked; at least one.
    """
    if len(errors) == 1:
        return next(iter(errors.values()))
    telling = min(errors.values(), key=_rank)
    reasons = "; ".join(_reason(link, error) for link, error in errors.items())
    text = f"{len(errors)} endpoints failed: {reasons}"
    detail = {**telling.detail, "endpoints": {str(link.endpoint): error.code for link, error in errors.items()}}
    waits_ms = [error.retry_after_ms for error in errors.values() if error.retry_after_ms is not None]
    if waits_ms:
        detail["retry_after_ms"] = min(waits_ms)
    if any(error.detail.get("is_listening") for error in errors.values()):
        detail["is_listening"] = True
    return type(telling)(text, detail)


def was_refused_unsent(error: PredictdError) -> bool:
    """Return whether an error says that the request never left: there is no harm in asking elsewhere."""
    return isinstance(error, ServerUnavailableError) or error.detail.get("was_sent") is False


def is_not_served(error: PredictdError) -> bool:
    """Return whether an error says that this server doesn't have the model or version; another one may."""
    return isinstance(error, (ModelNotFoundError, VersionNotFoundError))


def _rank(error: PredictdError) -> int:
    return next((rank for rank, kind in enumerate(_TELLING) if isinstance(error, kind)), len(_TELLING))


def _reason(link: Link, error: PredictdError) -> str:
    where = str(link.endpoint)
    return error.message if where in error.message else f"{where}: {error.message}"
