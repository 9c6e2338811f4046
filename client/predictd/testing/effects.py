"""What faults do: to a request's turn, to an answer, to its bytes, to a handshake.

Owns the effects, each a small function. When one strikes is `fault.py`'s. Guarded by the fake's monitor.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from predictd.testing.turn import Change, Spoil, Turn
from predictd_proto.dtypes import Buffer
from predictd_proto.errors import (
    ConfigError,
    PredictdError,
    ProtocolVersionError,
    RetryableError,
    ServerDrainingError,
)
from predictd_proto.messages import ErrorResponse, Hello, Message, PredictResponse
from predictd_proto.metadata import ModelMetadata
from predictd_proto.tensors import STRING, Tensor, is_dtype
from predictd_proto.version import choose_version

OnRequest = Callable[[Turn], "bool | None"]


def delay(ms: float) -> OnRequest:
    """Hold the answer back."""
    if not 0 <= ms < float("inf"):
        text = f"faults.delay: ms: expected a number of milliseconds of at least 0, got {ms!r}"
        raise ConfigError(text)

    def act(turn: Turn) -> bool:
        turn.delay_ms += ms
        return False

    return act


def drop(turn: Turn) -> bool:
    """Give no answer."""
    turn.is_dropped = True
    return True


def refuse(error: PredictdError) -> OnRequest:
    """Answer with an error."""

    def act(turn: Turn) -> bool:
        turn.error = error
        return True

    return act


def refuse_draining(turn: Turn) -> bool:
    """Answer that the server is shutting down."""
    turn.error = ServerDrainingError("the server is shutting down (a fault of predictd.testing)")
    return True


def flaky(rate: float, seed: int, error: PredictdError) -> OnRequest:
    """Answer a share of the requests with an error."""
    if not 0 <= rate <= 1:
        text = f"faults.flaky: rate: expected a share from 0 to 1, got {rate!r}"
        raise ConfigError(text)
    drawn = random.Random(seed)

    def act(turn: Turn) -> bool | None:
        if drawn.random() >= rate:
            return None
        turn.error = error
        return True

    return act


def die(after: int, back_after_ms: float | None) -> OnRequest:
    """Take requests, and die with the last of them."""
    taken = 0

    def act(turn: Turn) -> bool:
        nonlocal taken
        taken += 1
        turn.is_dropped = True
        if taken > after:
            turn.dies = True
            turn.back_after_ms = back_after_ms
        return True

    return act


def change(how: Change) -> OnRequest:
    """Change the answer."""

    def act(turn: Turn) -> bool:
        turn.changes.append(how)
        return False

    return act


def spoil(how: Spoil) -> OnRequest:
    """Change the answer's bytes."""

    def act(turn: Turn) -> bool:
        turn.spoils.append(how)
        return False

    return act


def other_dtype(dtype: str) -> Change:
    """Answer with another dtype."""
    if dtype and not is_dtype(dtype):
        text = f"faults.wrong_dtype: expected one of the wire's dtypes, such as 'int32', got {dtype!r}"
        raise ConfigError(text)

    def changed(tensor: Tensor) -> Tensor:
        if tensor.dtype == STRING and dtype != STRING:
            return Tensor.from_array(tensor.name, np.zeros(tensor.shape), dtype or "float32")
        wanted = dtype or ("float64" if tensor.dtype != "float64" else "int32")
        if wanted == STRING:
            return Tensor.from_array(tensor.name, tensor.array().astype(str))
        return Tensor.from_array(tensor.name, tensor.array(), wanted)

    return lambda answer: replace(answer, tensors=tuple([changed(tensor) for tensor in answer.tensors]))


def one_row_more(answer: PredictResponse) -> PredictResponse:
    """Answer with a row that nobody asked for."""

    def changed(tensor: Tensor) -> Tensor:
        array = tensor.array()
        if not array.ndim:
            return Tensor.from_array(tensor.name, array[None])
        row = array[-1:] if len(array) else np.zeros((1, *array.shape[1:]), array.dtype)
        return Tensor.from_array(tensor.name, np.concatenate([array, row]))

    return replace(answer, tensors=tuple([changed(tensor) for tensor in answer.tensors]))


def other_names(answer: PredictResponse) -> PredictResponse:
    """Answer with outputs of other names."""
    return replace(answer, tensors=tuple([replace(tensor, name=f"not_{tensor.name}") for tensor in answer.tensors]))


def other_id(answer: PredictResponse) -> PredictResponse:
    """Answer a request that nobody sent."""
    return replace(answer, id=answer.id ^ (1 << 62))


def corrupted(frames: Sequence[Buffer]) -> list[Buffer]:
    """Answer with the envelope of an answer and nonsense in it."""
    return [bytes(frames[0][:4]) + b"\xc1 corrupted by predictd.testing"]


def seen_loading(model: str | None) -> Callable[[ModelMetadata], ModelMetadata]:
    """Show a model as loading."""

    def see(metadata: ModelMetadata) -> ModelMetadata:
        return replace(metadata, state="loading") if model in {None, metadata.name} else metadata

    return see


def hello_refused(error: PredictdError) -> Callable[[Hello], Message]:
    """Answer a handshake with an error."""
    return lambda hello: ErrorResponse.from_error(None, error)


def hello_of_version(version: int) -> Callable[[Hello], Message]:
    """Answer a handshake as a server of another protocol version does."""

    def answer(hello: Hello) -> Message:
        try:
            choose_version(
                their_oldest=hello.oldest,
                their_newest=hello.newest,
                our_oldest=version,
                our_newest=version,
                them="client",
            )
        except ProtocolVersionError as error:
            return ErrorResponse.from_error(None, error)
        text = f"faults.other_protocol: this client speaks version {version}; choose one that it does not"
        return ErrorResponse.from_error(None, ConfigError(text))

    return answer


def error_of(error: object) -> PredictdError:
    """Return an error, or one of a class.

    Raises:
        ConfigError: It is none of predictd's.
    """
    if isinstance(error, PredictdError):
        return error
    if isinstance(error, type) and issubclass(error, PredictdError) and error is not RetryableError:
        return error(f"{error.__name__}, a fault of predictd.testing")
    text = f"expected one of predictd's errors, an instance or a class that has a code, got {error!r}"
    raise ConfigError(text)
