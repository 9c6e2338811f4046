"""Request frames: a question becomes the frames of a request, and the frames of an answer become the answer.

Owns both steps and the checks against the server's limits. It knows no connection and reads no clock, so that whoever
asks, on whatever kind of connection, does it in the same way. Any thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from predictd.connections.connecting import read_message
from predictd.connections.segments import Segments
from predictd.requests.catalogue import Plan
from predictd.requests.fitting import fit_inputs
from predictd.requests.output_sizes import Shapes
from predictd.requests.request_kinds import RequestKinds
from predictd.requests.structure_match import match_inputs, match_names
from predictd.wording import named, restated
from predictd_proto.errors import (
    ConfigError,
    RemoteProtocolError,
    RequestTooLargeError,
    SegmentRefusedError,
    TensorMismatchError,
)
from predictd_proto.frames import check_size, encode
from predictd_proto.known_replies import KnownReplies
from predictd_proto.limits import Limits
from predictd_proto.messages import ErrorResponse, PredictRequest, PredictResponse
from predictd_proto.segments import PlacedTensor, Segment, may_be_placed
from predictd_proto.tensors import Buffer, Tensor

#: What the replies of all servers share: bytes that passed every check are as good from one as from another.
_known_replies = KnownReplies()

Caller = tuple[str, str, str, str]
_NOBODY: Caller = ("", "", "", "")

_ADVICE = "Send fewer rows at a time (RemoteModel.predict does that by itself), or raise the limit on the server"


class Question:
    """What is asked; the same for every repetition.

    Attributes:
        model: The model's name.
        inputs: What the caller handed in; with `is_matched`, a dict with the value of each input by its name.
        version: A version number, a label, or None for the latest.
        signature: The signature's name; None for the model's default.
        cast: Cast inputs of another dtype.
        is_lenient: Keras' leniency in nesting and rank.
        is_matched: See `inputs`.
        caller: caller_class, traceparent, task_id and task_name, as they travel.
        rows: How many rows were sent last, where the outputs have as many; else None.
        shapes: Those of the inputs that were sent last.

    Raises:
        ConfigError: Model, version, signature or cast is of the wrong kind.
    """

    __slots__ = (
        "caller",
        "cast",
        "inputs",
        "is_lenient",
        "is_matched",
        "model",
        "rows",
        "shapes",
        "signature",
        "version",
    )

    def __init__(
        self,
        model: str,
        inputs: Any,
        *,
        version: int | str | None = None,
        signature: str | None = None,
        cast: bool = False,
        is_lenient: bool = False,
        is_matched: bool = False,
        caller: Caller = _NOBODY,
    ) -> None:
        if type(model) is not str or not model or version is not None or signature is not None:
            check_words(model, version, signature)
        self.model: str = model
        self.inputs: Any = inputs
        self.version: int | str | None = version
        self.signature: str | None = signature
        self.cast: bool = cast if type(cast) is bool else _flag("cast", cast)  # type: ignore[redundant-expr]
        self.is_lenient: bool = is_lenient
        self.is_matched: bool = is_matched
        self.caller: Caller = caller
        self.rows: int | None = None
        self.shapes: Shapes = ()


def check_words(model: object, version: object, signature: object) -> None:
    """Check what a signature is chosen by.

    Raises:
        ConfigError: One of them is of the wrong kind.
    """
    if not isinstance(model, str) or not model:
        text = f"model: expected a name such as 'digits', got {named(model)}"
        if model is not None and not isinstance(model, (str, bytes, int)):
            text += "; the order is predict(model, inputs)"
    elif version is not None and not isinstance(version, (int, str)):
        text = f"version: expected a whole number, a text or None, got {named(version)}"
    elif signature is not None and not isinstance(signature, str):
        text = f"signature: expected a text or None, got {named(signature)}"
    else:
        return
    raise ConfigError(text)


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        text = f"{name}: expected True or False, got {named(value)}"
        raise ConfigError(text)
    return bool(value)


def request_frames(
    plan: Plan,
    question: Question,
    limits: Limits,
    request_id: int,
    remaining_ms: float,
    segments: Segments | None = None,
) -> list[Buffer]:
    """Return a question as the frames of a request; large arrays are copied into shared memory, where there is any.

    Elsewhere they are shared with the caller's.

    Args:
        plan: How the signature is called.
        question: What is asked.
        limits: What the server takes in one request.
        request_id: The request's id on its connection.
        remaining_ms: What is left of the caller's time, in milliseconds.
        segments: What the connection shares with the server; None for nothing.

    Raises:
        TensorMismatchError: The inputs are not what the signature takes.
        RequestTooLargeError: The request is over one of the limits.
        LocalProtocolError: A field is no value that can travel.
    """
    frame = plan.kinds.frame(question, limits, request_id, remaining_ms)
    if frame is not None:
        return [frame]
    tensors = _fitted(plan, question)
    _check_tensors(limits, tensors)
    question.rows = tensors[0].shape[0] if plan.is_row_wise and tensors else None
    question.shapes = tuple([tensor.shape for tensor in tensors])
    is_large = any([may_be_placed(tensor.dtype, len(tensor.data)) for tensor in tensors])
    reply_bytes = plan.output_sizes.expected_bytes(question.rows, question.shapes, is_large=is_large)
    kinds = None if reply_bytes else plan.kinds
    if segments is None:
        return _encoded(kinds, question, limits, _request(question, request_id, remaining_ms, tensors))
    shared_bytes = sum([len(tensor.data) for tensor in tensors])
    if shared_bytes > limits.max_request_bytes:
        check_size([b""], limits, shared_bytes)
    try:
        lent = segments.lend(request_id, tensors, reply_bytes)
        return _encoded(kinds, question, limits, _request(question, request_id, remaining_ms, *lent))
    except BaseException:
        # Nothing was sent, so nobody reads what was lent.
        segments.settle(request_id, is_answered=True)
        raise


def _request(
    question: Question,
    request_id: int,
    remaining_ms: float,
    tensors: tuple[Tensor, ...],
    segments: tuple[Segment, ...] = (),
    reply_segment: int | None = None,
) -> PredictRequest:
    caller_class, traceparent, task_id, task_name = question.caller
    return PredictRequest(
        id=request_id,
        model=question.model,
        tensors=tensors,
        version=question.version,
        signature=question.signature,
        timeout_ms=remaining_ms,
        caller_class=caller_class,
        traceparent=traceparent,
        task_id=task_id,
        task_name=task_name,
        segments=segments,
        reply_segment=reply_segment,
    )


def _encoded(kinds: RequestKinds | None, question: Question, limits: Limits, request: PredictRequest) -> list[Buffer]:
    frames = encode(request)
    shared_bytes = sum([len(tensor.data) for tensor in request.tensors if type(tensor) is PlacedTensor])
    check_size(frames, limits, shared_bytes)
    if kinds is not None and not request.segments:
        kinds.remember(question, request, limits)
    return frames


def answer_of(frames: list[Buffer], address: str, segments: Segments | None = None) -> PredictResponse | ErrorResponse:
    """Return the answer that a server's frames hold.

    Args:
        frames: As received.
        address: Where they came from, for error texts.
        segments: What the connection shares with the server; None for nothing.

    Raises:
        RemoteProtocolError: They hold no answer.
        ProtocolVersionError: They are of a version that isn't spoken here.
    """
    is_lent = segments is not None and segments.is_lent
    first = frames[0] if len(frames) == 1 else None
    if type(first) is bytes:
        known = _known_replies.recognise(first)
        if known is not None:
            if segments is not None and is_lent:
                segments.settle(known.id, is_answered=True)
            return known
    message = read_message(frames, address, segments.outputs if segments is not None and is_lent else None)
    if type(message) is PredictResponse:
        if type(first) is bytes:
            _known_replies.remember(first, message)
        if segments is not None:
            segments.settle(message.id, is_answered=True)
        return message
    if isinstance(message, ErrorResponse):
        if segments is not None and message.id is not None:
            was_lent = segments.settle(message.id, is_answered=False)
            # What was cancelled before the server read it is gone when it looks, which is no reason to stop sharing.
            if was_lent and message.code == SegmentRefusedError.code:
                segments.refuse()
        return message
    text = f"server at {address}: expected an answer, got a {type(message).__name__}"
    raise RemoteProtocolError(text)


def _fitted(plan: Plan, question: Question) -> tuple[Tensor, ...]:
    try:
        if question.is_matched:
            values = match_names(plan.spec, question.inputs)
        else:
            values = match_inputs(plan.spec, question.inputs, is_lenient=question.is_lenient)
    except TensorMismatchError as error:
        raise restated(error, f"{plan.label}, {error.message}") from error
    return fit_inputs(plan.label, plan.spec.inputs, values, cast=question.cast, is_lenient=question.is_lenient)


def _check_tensors(limits: Limits, tensors: Sequence[Tensor]) -> None:
    if len(tensors) > limits.max_tensors:
        text = f"a request of {len(tensors)} tensors; the server takes max_tensors = {limits.max_tensors}"
        raise RequestTooLargeError(text)
    for tensor in tensors:
        shape = tensor.shape
        if len(shape) > limits.max_rank:
            text = f"input {tensor.name!r}: rank {len(shape)}; the server takes max_rank = {limits.max_rank}"
            raise RequestTooLargeError(text)
        if shape and shape[0] > limits.max_rows:
            text = f"input {tensor.name!r}: {shape[0]} rows; the server takes max_rows = {limits.max_rows}. {_ADVICE}"
            raise RequestTooLargeError(text, {"max_rows": limits.max_rows})
