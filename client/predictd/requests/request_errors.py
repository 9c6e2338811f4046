"""How a request ends without an answer, in words: the time was up, or the server went away.

Owns these texts, so that every way of asking tells it in the same way. Any thread.
"""

from __future__ import annotations

from predictd.connections.turns import MOST_CONNECTIONS
from predictd.wording import restated
from predictd_proto.endpoints import Endpoint
from predictd_proto.errors import DeadlineExceededError, PredictdError, ServerLostError
from predictd_proto.quantities import seconds_text

_STATES = {
    "preparing": "before the request was sent; nothing ran",
    "waiting": "connected, but no answer came: the server is busy, stuck or stopped (see `predictd status`)",
}


def too_late(model: str, endpoint: Endpoint, waited_ms: float, *, was_sent: bool) -> DeadlineExceededError:
    """Return the error for a request whose time was up.

    Args:
        model: What was asked.
        endpoint: Where.
        waited_ms: For how long, in milliseconds.
        was_sent: Whether the request had left.
    """
    state = "waiting" if was_sent else "preparing"
    text = f"model {model!r} at {endpoint}: time-out after {seconds_text(waited_ms)}, {_STATES[state]}"
    return DeadlineExceededError(text, {"endpoint": str(endpoint), "state": state, "waited_ms": waited_ms})


def lost(model: str, endpoint: Endpoint, waited_ms: float, *, was_sent: bool) -> ServerLostError:
    """Return the error for a request whose server went away; the arguments are those of `too_late`."""
    when = "with the request; whether it ran is unknown" if was_sent else "before the request was sent"
    text = (
        f"model {model!r} at {endpoint}: the server went away {when} (after {seconds_text(waited_ms)}). "
        "It was killed, crashed, ran out of memory or was restarted: its log says which"
    )
    return ServerLostError(text, {"endpoint": str(endpoint), "was_sent": was_sent})


def own_error(error: BaseException | None) -> BaseException:
    """Return an error for one of several requests that it concerns: raising it must not touch the others' traceback."""
    assert error is not None, "neither a result nor an error"
    if not isinstance(error, PredictdError):
        return error
    own = restated(error, error.message)
    own.__cause__ = error.__cause__
    return own


def no_turn(model: str, endpoint: Endpoint, waited_ms: float, most: int) -> DeadlineExceededError:
    """Return the error of a call that got no connection, as its process has as many as it should."""
    text = (
        f"model {model!r} at {endpoint}: time-out after {seconds_text(waited_ms)}, waiting for one of this "
        f"process's {most} connections: calls in progress, here or at other endpoints, had all of them; nothing was "
        "sent. Let fewer callers ask at once"
    )
    if most < MOST_CONNECTIONS:
        text += ", or raise the limit on open files (ulimit -n)"
    return DeadlineExceededError(text, {"endpoint": str(endpoint), "state": "preparing"})
