"""The orders: what a client may tell a server to do with its models, and the answer.

Owns the fields and their rules, as `messages.py` does for all other messages. An order names a model that the server is
configured with, and never a path. Any thread.
"""

from __future__ import annotations

from dataclasses import dataclass

from predictd_proto.checks import check_int, check_number, check_text, check_tuple
from predictd_proto.limits import MAX_ID, MAX_LIST_ITEMS, MAX_MESSAGE_TEXT, MAX_TEXT
from predictd_proto.metadata import ModelMetadata


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRequest:
    """An order to serve a version of a model that the server is configured with. Never a path.

    Attributes:
        id: Chosen by the client, unique on its connection.
        model: The model's name.
        version: Its version; None for the newest there is of those that the server's configuration wants, and then
            the others of them.
        timeout_ms: What is left of the caller's time; None for as long as it takes.
    """

    id: int
    model: str
    version: int | None = None
    timeout_ms: float | None = None

    def __post_init__(self) -> None:
        _check_order(self.id, self.model, self.version, self.timeout_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnloadRequest:
    """An order to serve a version no longer, or with `version=None` the whole model."""

    id: int
    model: str
    version: int | None = None
    timeout_ms: float | None = None

    def __post_init__(self) -> None:
        _check_order(self.id, self.model, self.version, self.timeout_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRequest:
    """An order to let a label point at a version, or with `version=None` to take it away."""

    id: int
    model: str
    label: str
    version: int | None = None
    timeout_ms: float | None = None

    def __post_init__(self) -> None:
        _check_order(self.id, self.model, self.version, self.timeout_ms)
        check_text("label", self.label, MAX_TEXT)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadRequest:
    """An order to look again at what there is of a model, or of all with `model=None`, and serve what is wanted."""

    id: int
    model: str | None = None
    timeout_ms: float | None = None

    def __post_init__(self) -> None:
        _check_order(self.id, "" if self.model is None else self.model, None, self.timeout_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderResponse:
    """What became of an order.

    Attributes:
        id: The order's.
        done: What was done, in words, in order.
        models: The versions of the models that it was about, as they are now: as many as a message holds, served ones
            first.
    """

    id: int
    done: tuple[str, ...] = ()
    models: tuple[ModelMetadata, ...] = ()

    def __post_init__(self) -> None:
        check_int("id", self.id, 0, MAX_ID)
        check_tuple("done", self.done, str, MAX_LIST_ITEMS)
        for text in self.done:
            check_text("done", text, MAX_MESSAGE_TEXT)
        check_tuple("models", self.models, ModelMetadata, MAX_LIST_ITEMS)


#: What a client may order.
OrderRequest = LoadRequest | UnloadRequest | LabelRequest | ReloadRequest


def _check_order(request_id: int, model: str, version: int | None, timeout_ms: float | None) -> None:
    check_int("id", request_id, 0, MAX_ID)
    check_text("model", model, MAX_TEXT)
    if version is not None:
        check_int("version", version, 0, MAX_ID)
    if timeout_ms is not None:
        check_number("timeout_ms", timeout_ms)
