"""Refusals: the errors that are answered where something asked for is not done.

Owns their texts. Pure; any thread.
"""

from __future__ import annotations

from predictd_proto.errors import (
    ExpiredInQueueError,
    InternalServerError,
    RemoteProtocolError,
    ServerDrainingError,
)
from predictd_proto.messages import Message
from predictd_server.serving.pending import Pending


def draining() -> ServerDrainingError:
    """Return what new requests are answered while the server shuts down."""
    return ServerDrainingError("the server is shutting down and takes no more work; try again when it is back")


def id_in_use(request_id: int) -> RemoteProtocolError:
    """Return what a second request with an id that has no answer yet is answered."""
    text = f"request id {request_id} is already in use on this connection; give each request one of its own"
    return RemoteProtocolError(text)


def expired(request: Pending, now: float) -> ExpiredInQueueError:
    """Return what a request is answered whose time was up before its turn came."""
    waited_ms = (now - request.arrived_s) * 1000
    text = (
        f"{request.signature}: the request's time was up after {waited_ms:.0f} ms in the queue; it did not run. "
        "Give it more time (timeout_ms), or ask for less at once"
    )
    return ExpiredInQueueError(text)


def fault(doing: str) -> InternalServerError:
    """Return what is answered where a bug of ours got in the way.

    Args:
        doing: Of what ("running the batch").
    """
    text = (
        f"a fault in the server while {doing}; its log has the details. Report it with them, and restart the server if "
        "it stays"
    )
    return InternalServerError(text)


def misplaced(message: Message) -> RemoteProtocolError:
    """Return what a message is answered that has no business on the data socket."""
    text = (
        f"a {type(message).__name__} does not belong on the data socket; "
        "status, metadata and orders are for the control socket"
    )
    return RemoteProtocolError(text)
