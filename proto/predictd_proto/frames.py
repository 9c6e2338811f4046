"""Messages <-> frames: the only module that knows the order of bytes on the wire (`WIRE.md` is the specification).

Frame 0 is the envelope: the marker "pd", the protocol version, the message type, then a msgpack map. Each tensor above
`INLINE_TENSOR_BYTES` is one raw frame after it. So a small request is a single frame: a bare echo of 256 B makes 90,000
to 150,000 round trips/s with one frame and 45,000 with marker, type, header and tensor in four (2 cores, 32 in flight).

`encode` and `decode` are pure; any thread may call them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import msgpack

from predictd_proto import plain
from predictd_proto.errors import LocalProtocolError, ProtocolVersionError, RemoteProtocolError, RequestTooLargeError
from predictd_proto.limits import DEFAULT_LIMITS, INLINE_TENSOR_BYTES, Limits
from predictd_proto.messages import (
    CancelRequest,
    ErrorResponse,
    Hello,
    Message,
    MetadataRequest,
    MetadataResponse,
    PredictRequest,
    PredictResponse,
    Receipt,
    StatusRequest,
    StatusResponse,
    Welcome,
)
from predictd_proto.tensors import Buffer, Tensor, check_data, is_dtype
from predictd_proto.version import OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION

MARKER = b"pd"
ENVELOPE_BYTES = 4

#: The one table: type byte -> message class.
MESSAGE_TYPES: dict[int, type[Message]] = {
    1: Hello,
    2: Welcome,
    3: PredictRequest,
    4: PredictResponse,
    5: ErrorResponse,
    6: CancelRequest,
    7: MetadataRequest,
    8: MetadataResponse,
    9: StatusRequest,
    10: StatusResponse,
}
_PREFIXES: dict[type[Message], bytes] = {
    cls: MARKER + bytes((PROTOCOL_VERSION, number)) for number, cls in MESSAGE_TYPES.items()
}

#: Types that every version reads: without them no peer could say which side is older.
_ANY_VERSION = frozenset((1, 2, 5))

_pack = cast("Callable[[object], bytes]", msgpack.packb)


def encode(message: Message) -> list[Buffer]:
    """Return a message as frames; large tensors are shared, not copied.

    Raises:
        LocalProtocolError: A field can't be packed.
    """
    frames: list[Buffer] = [b""]
    header = _header_of(message, frames)
    try:
        frames[0] = _PREFIXES[type(message)] + _pack(header)
    except (TypeError, ValueError, OverflowError) as error:
        text = f"{type(message).__name__}: a field can't travel: {error}"
        raise LocalProtocolError(text) from error
    return frames


def decode(frames: Sequence[Buffer], limits: Limits = DEFAULT_LIMITS) -> Message:
    """Return the message that the frames hold; its tensors are views into them.

    Args:
        frames: As received, without routing ids.
        limits: What to accept.

    Raises:
        RemoteProtocolError: The frames are no message.
        ProtocolVersionError: They are one of a version that isn't spoken here.
        RequestTooLargeError: They are over a limit.
    """
    number = _check_envelope(frames, limits)
    header = _unpack_header(frames[0])
    try:
        return _message_of(MESSAGE_TYPES[number], header, frames, limits)
    except LocalProtocolError as error:
        raise RemoteProtocolError(error.message, error.detail) from error
    except (TypeError, ValueError, KeyError) as error:
        text = f"a {MESSAGE_TYPES[number].__name__} has missing or wrong fields: {error}"
        raise RemoteProtocolError(text) from error


def request_id_of(frames: Sequence[Buffer]) -> int | None:
    """Return the request id of frames that `decode` refused, so that an error can find its caller; None if unreadable."""
    try:
        found = _unpack_header(frames[0]).get("id")
    except (RemoteProtocolError, IndexError):
        return None
    return found if type(found) is int and 0 <= found < 1 << 63 else None


def encoded_bytes(frames: Sequence[Buffer]) -> int:
    """Return the size of a message in bytes."""
    return sum(map(len, frames))


def _check_envelope(frames: Sequence[Buffer], limits: Limits) -> int:
    if not frames or len(frames[0]) < ENVELOPE_BYTES or bytes(frames[0][:2]) != MARKER:
        text = "not a predictd message: its first frame does not begin with the marker 'pd'; is the endpoint right?"
        raise RemoteProtocolError(text)
    version, number = frames[0][2], frames[0][3]
    if not OLDEST_PROTOCOL_VERSION <= version <= PROTOCOL_VERSION and number not in _ANY_VERSION:
        older = "this side" if version > PROTOCOL_VERSION else "the peer"
        text = f"message of protocol {version}, spoken here {OLDEST_PROTOCOL_VERSION} to {PROTOCOL_VERSION}: {older} is older"
        raise ProtocolVersionError(text, {"theirs": version, "older": older})
    if number not in MESSAGE_TYPES:
        text = f"unknown message type {number}"
        raise RemoteProtocolError(text)
    if len(frames) > 1:
        _check_size(frames, limits)
    if len(frames[0]) > limits.max_header_bytes:
        text = f"a header of {len(frames[0])} bytes; the limit is max_header_bytes = {limits.max_header_bytes}"
        raise RequestTooLargeError(text)
    return number


def _check_size(frames: Sequence[Buffer], limits: Limits) -> None:
    if len(frames) > limits.max_tensors + 1:
        text = f"a message of {len(frames)} frames; the limit is max_tensors = {limits.max_tensors} and a header"
        raise RequestTooLargeError(text)
    size = encoded_bytes(frames)
    if size > limits.max_request_bytes:
        text = (
            f"a request of {size} bytes; the limit is max_request_bytes = {limits.max_request_bytes}. "
            "Send fewer rows at a time, or raise the limit on the server"
        )
        raise RequestTooLargeError(text)


def _unpack_header(frame: Buffer) -> dict[str, Any]:
    try:
        header = msgpack.unpackb(memoryview(frame)[ENVELOPE_BYTES:], ext_hook=_refuse_extension)
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
        text = f"a header that is no msgpack: {error}"
        raise RemoteProtocolError(text) from error
    if type(header) is not dict:
        text = f"a header is a map, got {type(header).__name__}"
        raise RemoteProtocolError(text)
    return cast("dict[str, Any]", header)


def _refuse_extension(code: int, data: bytes) -> object:
    del data
    text = f"msgpack extension type {code} has no meaning here"
    raise ValueError(text)


def _header_of(message: Message, frames: list[Buffer]) -> object:
    if isinstance(message, PredictRequest):
        header = plain.changed_fields(message)
        header["tensors"] = [_tensor_entry(tensor, frames) for tensor in message.tensors]
        return header
    if isinstance(message, PredictResponse):
        entries = [_tensor_entry(tensor, frames) for tensor in message.tensors]
        return {"id": message.id, "receipt": plain.changed_fields(message.receipt), "tensors": entries}
    return plain.to_plain(message)


def _tensor_entry(tensor: Tensor, frames: list[Buffer]) -> tuple[object, ...]:
    data: Buffer | int = tensor.data
    if len(tensor.data) > INLINE_TENSOR_BYTES:
        data = len(frames)
        frames.append(tensor.data)
    return (tensor.name, tensor.dtype, tensor.shape, data)


def _message_of(cls: type[Message], header: dict[str, Any], frames: Sequence[Buffer], limits: Limits) -> Message:
    if cls is PredictRequest:
        header["tensors"] = _tensors_of(header["tensors"], frames, limits)
        return PredictRequest(**plain.known_fields(PredictRequest, header))
    if cls is PredictResponse:
        receipt = Receipt(**plain.known_fields(Receipt, header["receipt"]))
        return PredictResponse(id=header["id"], tensors=_tensors_of(header["tensors"], frames, limits), receipt=receipt)
    if len(frames) > 1:
        text = f"a {cls.__name__} is one frame, got {len(frames)}"
        raise RemoteProtocolError(text)
    return cast("Message", plain.from_plain(cls, header))


def _tensors_of(entries: object, frames: Sequence[Buffer], limits: Limits) -> tuple[Tensor, ...]:
    if type(entries) is not list or len(entries) > limits.max_tensors:
        text = f"tensors: expected a list of at most max_tensors = {limits.max_tensors}"
        raise RemoteProtocolError(text)
    next_frame = 1
    tensors: list[Tensor] = []
    for name, dtype, shape, data in entries:
        if type(data) is int:
            if data != next_frame or data >= len(frames):
                text = f"tensor {name!r} points at frame {data}; the next one is {next_frame} of {len(frames)}"
                raise RemoteProtocolError(text)
            data = frames[data]  # noqa: PLW2901
            next_frame += 1
        tensors.append(_tensor_of(name, dtype, shape, data, limits))
    if next_frame != len(frames):
        text = f"{len(frames) - next_frame} frames belong to no tensor"
        raise RemoteProtocolError(text)
    return tuple(tensors)


def _tensor_of(name: object, dtype: object, shape: object, data: object, limits: Limits) -> Tensor:
    if type(name) is not str or not is_dtype(dtype):
        text = f"a tensor's name and dtype: got {str(name)[:80]!r} and {str(dtype)[:80]!r}"
        raise RemoteProtocolError(text)
    if type(shape) is not list or len(shape) > limits.max_rank:
        text = f"tensor {name!r}: a shape is a list of at most max_rank = {limits.max_rank} axes"
        raise RemoteProtocolError(text)
    for axis in shape:
        if type(axis) is not int or not 0 <= axis < 1 << 48:
            text = f"tensor {name!r}: an axis is a whole number below 2**48, got {str(axis)[:40]}"
            raise RemoteProtocolError(text)
    if not isinstance(data, (bytes, bytearray, memoryview)):
        text = f"tensor {name!r}: data is bytes or a frame's number, got {type(data).__name__}"
        raise RemoteProtocolError(text)
    tensor = Tensor(name, cast("str", dtype), tuple(shape), data)
    check_data(tensor)
    return tensor
