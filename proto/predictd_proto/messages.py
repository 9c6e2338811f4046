"""The messages: what clients and server say to each other, as frozen dataclasses that check themselves.

Owns the fields and their rules. It doesn't know how a message becomes frames (`frames.py`) and touches no socket. An
instance that exists is valid: a wrong field raises `LocalProtocolError` on construction. Any thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from predictd_proto.checks import (
    check_bool,
    check_int,
    check_number,
    check_text,
    check_texts,
    check_tuple,
    refuse,
)
from predictd_proto.errors import PredictdError, error_from_code
from predictd_proto.facts import check_facts, safe_facts, safe_text
from predictd_proto.limits import DEFAULT_LIMITS, MAX_ID, MAX_LIST_ITEMS, MAX_MESSAGE_TEXT, MAX_TEXT, Limits
from predictd_proto.metadata import ModelMetadata
from predictd_proto.orders import LabelRequest, LoadRequest, OrderResponse, ReloadRequest, UnloadRequest
from predictd_proto.receipt import Receipt
from predictd_proto.segments import MAX_SEGMENTS, PlacedTensor, Segment, SegmentLimits
from predictd_proto.status import ServerStatus
from predictd_proto.tensors import MAX_NAME, Tensor

__all__ = [
    "MAX_ID",
    "MAX_MESSAGE_TEXT",
    "MAX_TEXT",
    "MAX_VERSION",
    "CancelRequest",
    "ErrorResponse",
    "Hello",
    "LabelRequest",
    "LoadRequest",
    "Message",
    "MetadataRequest",
    "MetadataResponse",
    "OrderResponse",
    "PredictRequest",
    "PredictResponse",
    "Receipt",
    "ReloadRequest",
    "StatusRequest",
    "StatusResponse",
    "UnloadRequest",
    "Welcome",
]

MAX_VERSION = 255

_WELCOME_TEXTS = ("server_id", "server", "state")
_CALLER_TEXTS = ("caller_class", "traceparent", "task_id", "task_name")
_NO_CALLER = ("", "", "", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """First message of a client: which protocol versions it speaks.

    Attributes:
        oldest: Oldest protocol version the client accepts.
        newest: Newest protocol version it speaks.
        client: What it is, for the server's log: package version and process.
        segments: Whether it would share memory with the server.
    """

    oldest: int
    newest: int
    client: str = ""
    segments: bool = False

    def __post_init__(self) -> None:
        check_int("oldest", self.oldest, 0, MAX_VERSION)
        check_int("newest", self.newest, self.oldest, MAX_VERSION)
        check_text("client", self.client, MAX_TEXT)
        check_bool("segments", self.segments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The server's answer to `Hello`.

    Attributes:
        version: The protocol version to speak from now on.
        server_id: Random per start of the server; another one means that it was restarted.
        server: The server's package version.
        state: "starting", "ready" or "draining".
        limits: What the server accepts in one message.
        models: Names of the models it serves or is loading.
        segments: What it maps of this client's memory; None for nothing.
    """

    version: int
    server_id: str
    server: str
    state: str
    limits: Limits = DEFAULT_LIMITS
    models: tuple[str, ...] = ()
    segments: SegmentLimits | None = None

    def __post_init__(self) -> None:
        check_int("version", self.version, 0, MAX_VERSION)
        check_texts(_WELCOME_TEXTS, (self.server_id, self.server, self.state), MAX_TEXT)
        if not isinstance(self.limits, Limits):
            refuse("limits", "Limits", self.limits)
        check_tuple("models", self.models, str, MAX_LIST_ITEMS)
        for model in self.models:
            check_text("models", model, MAX_TEXT)
        if self.segments is not None and not isinstance(self.segments, SegmentLimits):
            refuse("segments", "SegmentLimits or None", self.segments)


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictRequest:
    """Run a model on some rows.

    Attributes:
        id: Chosen by the client, unique on its connection.
        model: The model's name.
        tensors: One per input of the signature; axis 0 of each counts the rows.
        version: A version number, a label, or None for the latest that is ready.
        signature: The signature's name; None for the model's default.
        timeout_ms: What is left of the caller's time; None for the server's own bound. Never an instant: two
            processes' clocks can't be compared.
        caller_class: Which kind of caller this is ("interactive", a queue's name).
        traceparent: W3C trace context of the caller, passed on as it is.
        task_id: The Celery task's id: what runs again under it asks the same again.
        task_name: What kind of task that is.
        segments: The memory that it refers to.
        reply_segment: The place in that list of the one into which the outputs may be written; None for none.
    """

    id: int
    model: str
    tensors: tuple[Tensor, ...]
    version: int | str | None = None
    signature: str | None = None
    timeout_ms: float | None = None
    caller_class: str = ""
    traceparent: str = ""
    task_id: str = ""
    task_name: str = ""
    segments: tuple[Segment, ...] = ()
    reply_segment: int | None = None

    def __post_init__(self) -> None:
        check_int("id", self.id, 0, MAX_ID)
        check_text("model", self.model, MAX_TEXT)
        _check_tensors(self.tensors)
        if type(self.version) is int:
            check_int("version", self.version, 0, MAX_ID)
        elif self.version is not None:
            check_text("version", self.version, MAX_TEXT)
        if self.signature is not None:
            check_text("signature", self.signature, MAX_TEXT)
        if self.timeout_ms is not None:
            check_number("timeout_ms", self.timeout_ms)
        caller = (self.caller_class, self.traceparent, self.task_id, self.task_name)
        if caller != _NO_CALLER:
            check_texts(_CALLER_TEXTS, caller, MAX_TEXT)
        if self.segments or self.reply_segment is not None:
            check_tuple("segments", self.segments, Segment, MAX_SEGMENTS)
            if self.reply_segment is not None:
                check_int("reply_segment", self.reply_segment, 0, len(self.segments) - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictResponse:
    """A request's outputs and its receipt."""

    id: int
    tensors: tuple[Tensor, ...]
    receipt: Receipt

    def __post_init__(self) -> None:
        check_int("id", self.id, 0, MAX_ID)
        _check_tensors(self.tensors)
        if not isinstance(self.receipt, Receipt):
            refuse("receipt", "a Receipt", self.receipt)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorResponse:
    """A request that failed; `id` is None when the request could not be read that far."""

    id: int | None
    code: str
    message: str
    detail: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.id is not None:
            check_int("id", self.id, 0, MAX_ID)
        check_text("code", self.code, MAX_TEXT)
        check_text("message", self.message, MAX_MESSAGE_TEXT)
        check_facts("detail", self.detail)

    @classmethod
    def from_error(cls, request_id: int | None, error: PredictdError) -> ErrorResponse:
        """Return an error as a message.

        It never fails, or the caller would wait for an answer in vain: a text that is too long is cut, and what the
        wire can't carry is replaced by text.
        """
        text = safe_text(str(error), MAX_MESSAGE_TEXT)
        return cls(id=request_id, code=error.code, message=text, detail=safe_facts(error.detail))

    def error(self) -> PredictdError:
        """Return the exception that this message stands for."""
        return error_from_code(self.code, self.message, self.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequest:
    """The client no longer wants the answer to request `id`; nothing is sent back."""

    id: int

    def __post_init__(self) -> None:
        check_int("id", self.id, 0, MAX_ID)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataRequest:
    """Ask what is served: one model, or all with `model=None`."""

    id: int
    model: str | None = None

    def __post_init__(self) -> None:
        check_int("id", self.id, 0, MAX_ID)
        if self.model is not None:
            check_text("model", self.model, MAX_TEXT)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataResponse:
    """What is served, one entry per model version."""

    id: int
    models: tuple[ModelMetadata, ...]

    def __post_init__(self) -> None:
        check_int("id", self.id, 0, MAX_ID)
        check_tuple("models", self.models, ModelMetadata, MAX_LIST_ITEMS)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRequest:
    """Ask how the server is."""

    id: int

    def __post_init__(self) -> None:
        check_int("id", self.id, 0, MAX_ID)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusResponse:
    """How the server is."""

    id: int
    status: ServerStatus

    def __post_init__(self) -> None:
        check_int("id", self.id, 0, MAX_ID)
        if not isinstance(self.status, ServerStatus):
            refuse("status", "a ServerStatus", self.status)


Message = (
    Hello
    | Welcome
    | PredictRequest
    | PredictResponse
    | ErrorResponse
    | CancelRequest
    | MetadataRequest
    | MetadataResponse
    | StatusRequest
    | StatusResponse
    | LoadRequest
    | UnloadRequest
    | LabelRequest
    | ReloadRequest
    | OrderResponse
)


def _check_tensors(tensors: object) -> None:
    """The limits of one server are not known here; `frames.py` checks them."""
    if type(tensors) is not tuple:
        refuse("tensors", "a tuple of Tensor", tensors)
    for tensor in tensors:
        if type(tensor) is not Tensor and type(tensor) is not PlacedTensor:
            refuse("tensors", "a tuple of Tensor", tensor)
        if len(tensor.name) > MAX_NAME:
            refuse("tensors", f"names of at most {MAX_NAME} characters", tensor.name)
    if len(tensors) > 1:
        names = [tensor.name for tensor in tensors]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            refuse("tensors", "each name once", twice)
