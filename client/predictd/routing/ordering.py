"""Ordering: orders to servers, as every kind of client gives them.

Owns that each of several servers is told, one after the other, and what becomes of their answers. An order is not sent
again: one whose answer was lost may have been carried out. A thread that may block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from predictd.order_result import OrderResult
from predictd.wording import restated
from predictd_proto.errors import ConfigError, LocalProtocolError, PredictdError
from predictd_proto.orders import LabelRequest, LoadRequest, OrderRequest, OrderResponse, ReloadRequest, UnloadRequest

if TYPE_CHECKING:
    from predictd.deadline import Deadline
    from predictd.routing.asking import Asking

#: Makes an order of what is left of its caller's time, in milliseconds.
MakeOrder = Callable[[float], OrderRequest]

#: What an order may take, if its caller doesn't say otherwise: a large model is loaded and warmed in minutes.
ORDER_TIMEOUT_MS = 600_000.0


def load(model: str, version: int | None) -> MakeOrder:
    """Return the order to serve a version."""
    return _checked(lambda left_ms: LoadRequest(id=1, model=model, version=version, timeout_ms=left_ms))


def unload(model: str, version: int | None) -> MakeOrder:
    """Return the order to serve a version no longer."""
    return _checked(lambda left_ms: UnloadRequest(id=1, model=model, version=version, timeout_ms=left_ms))


def label(model: str, name: str, version: int | None) -> MakeOrder:
    """Return the order to let a label point at a version."""
    return _checked(lambda left_ms: LabelRequest(id=1, model=model, label=name, version=version, timeout_ms=left_ms))


def reload(model: str | None) -> MakeOrder:
    """Return the order to look again and serve what is wanted."""
    return _checked(lambda left_ms: ReloadRequest(id=1, model=model, timeout_ms=left_ms))


def give_order(asking: Asking, make: MakeOrder, deadline: Deadline) -> OrderResult:
    """Give an order to each server in turn, and return what all of them did.

    Args:
        asking: Whose servers.
        make: Makes it.
        deadline: Until when.

    Raises:
        PredictdError: One of them did not carry it out; those after it were not told.
    """
    links, answers = asking.routes.links, list[OrderResponse]()
    for link in links:
        try:
            answers.append(link.order(make(deadline.remaining_ms), deadline))
        except PredictdError as error:
            if len(links) == 1:
                raise
            told = ", ".join(str(other.endpoint) for other in links[: len(answers)]) or "none"
            text = f"{link.endpoint}: {error.message} (done before: {told}; those after it were not told)"
            raise restated(error, text) from error
    return OrderResult(
        done=tuple(text for answer in answers for text in answer.done),
        models=tuple(metadata for answer in answers for metadata in answer.models),
    )


def _checked(make: MakeOrder) -> MakeOrder:
    """Refuse at once what can't be said on the wire."""
    try:
        make(0.0)
    except LocalProtocolError as error:
        raise ConfigError(error.message) from None
    return make
