"""Messages <-> frames: the only module that knows the order of bytes on the wire (`WIRE.md` is the specification).

Frame 0 is the envelope: the marker "pd", the protocol version, the message type, then a msgpack map. Each tensor above
`INLINE_TENSOR_BYTES` is one raw frame after it. So a small request is a single frame: a bare echo of 256 B makes 90,000
to 150,000 round trips/s with one frame and 45,000 with marker, type, header and tensor in four (2 cores, 32 in flight).

`encode` and `decode` are pure; any thread may call them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from predictd_proto.entries import as_bytes
from predictd_proto.errors import (
    LocalProtocolError,
    ProtocolVersionError,
    RemoteProtocolError,
    RequestTooLargeError,
)
from predictd_proto.headers import find_id, pack_header, unpack_header
from predictd_proto.limits import DEFAULT_LIMITS, MAX_LIST_ITEMS, Limits
from predictd_proto.messages import (
    CancelRequest,
    ErrorResponse,
    Hello,
    LabelRequest,
    LoadRequest,
    Message,
    MetadataRequest,
    MetadataResponse,
    OrderResponse,
    PredictRequest,
    PredictResponse,
    ReloadRequest,
    StatusRequest,
    StatusResponse,
    UnloadRequest,
    Welcome,
)
from predictd_proto.plain import from_plain, to_plain
from predictd_proto.predictions import (
    request_header,
    request_of_header,
    response_header,
    response_of_header,
)
from predictd_proto.segments import ReplyMemory, RequestMemory
from predictd_proto.tensors import Buffer
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
    11: LoadRequest,
    12: UnloadRequest,
    13: LabelRequest,
    14: ReloadRequest,
    15: OrderResponse,
}
_PREFIXES: dict[type[Message], bytes] = {
    cls: MARKER + bytes((PROTOCOL_VERSION, number)) for number, cls in MESSAGE_TYPES.items()
}

#: Types that every version reads: without them no peer could say which side is older.
_ANY_VERSION = frozenset((1, 2, 5))

#: Types that only a client sends, and only a server.
_OF_CLIENTS = frozenset((1, 3, 6, 7, 9, 11, 12, 13, 14))
_OF_SERVERS = frozenset((2, 4, 5, 8, 10, 15))


def envelope(cls: type[Message]) -> bytes:
    """Return what every frame 0 of a kind of message begins with."""
    return _PREFIXES[cls]


def encode(message: Message) -> list[Buffer]:
    """Return a message as frames; large tensors are shared, not copied.

    Raises:
        LocalProtocolError: A field can't be packed.
    """
    prefix = _PREFIXES.get(type(message))
    if prefix is None:
        text = f"expected one of the messages, got a {type(message).__name__}"
        raise LocalProtocolError(text)
    frames: list[Buffer] = [b""]
    header = _header_of(message, frames)
    frames[0] = prefix + pack_header(header, type(message).__name__)
    return frames


def decode(
    frames: Sequence[Buffer],
    limits: Limits = DEFAULT_LIMITS,
    *,
    request_memory: RequestMemory | None = None,
    reply_memory: ReplyMemory | None = None,
) -> Message:
    """Return the message that the frames hold; its tensors are views into them, or of shared memory.

    Args:
        frames: As received, without routing ids; anything with a buffer of contiguous bytes.
        limits: What to accept.
        request_memory: Returns the memory of a segment that a request announces; may raise `SegmentRefusedError`.
        reply_memory: Returns the memory that the request announced to which this is the answer, by its id and place.

    Raises:
        RemoteProtocolError: The frames are no message.
        ProtocolVersionError: They are one of a version that isn't spoken here.
        RequestTooLargeError: They are over a limit.
        SegmentRefusedError: Memory that a request refers to can't be had.
        LocalProtocolError: A frame is no bytes: a fault of the caller, not of the peer.
    """
    for frame in frames:
        if type(frame) is not bytes:
            frames = [as_bytes(frame) for frame in frames]
            break
    cls = _check_envelope(frames, limits)
    most_items = max(MAX_LIST_ITEMS, limits.max_tensors)
    header = unpack_header(frames[0], ENVELOPE_BYTES, most_items)
    try:
        if cls is PredictRequest:
            return request_of_header(header, frames, limits, request_memory)
        if cls is PredictResponse:
            return response_of_header(header, frames, limits, reply_memory)
        return _rare_message_of(cls, header, frames)
    except KeyError as error:
        text = f"a {cls.__name__} without the field {error}"
        raise RemoteProtocolError(text) from error
    except (LocalProtocolError, TypeError, ValueError) as error:
        text = f"a {cls.__name__} that can't be read: {error}"
        raise RemoteProtocolError(text) from error


def request_id_of(frames: Sequence[Buffer]) -> int | None:
    """Return the request id of frames that `decode` refused, so that an error can find its caller.

    None when it can't be read; at most a few kilobytes are looked at.
    """
    if not frames:
        return None
    first = as_bytes(frames[0])
    return find_id(memoryview(first)[ENVELOPE_BYTES:]) if first[: len(MARKER)] == MARKER else None


def encoded_bytes(frames: Sequence[Buffer]) -> int:
    """Return the size of a message in bytes."""
    return sum(map(len, frames))


def check_size(frames: Sequence[Buffer], limits: Limits, shared_bytes: int = 0) -> None:
    """Check a message against the limits on its frames; a client does so before it sends.

    Args:
        frames: The message.
        limits: What to accept.
        shared_bytes: What of it lies in segments.

    Raises:
        RequestTooLargeError: It is over one of them; the text names it.
    """
    if len(frames) > limits.max_tensors + 1:
        text = (
            f"a message of {len(frames)} frames; the limit is max_tensors = {limits.max_tensors} and a header. "
            "Raise the limit on the server"
        )
        raise RequestTooLargeError(text)
    header_bytes = len(frames[0])
    if header_bytes > limits.max_header_bytes:
        text = (
            f"a header of {header_bytes} bytes; the limit is max_header_bytes = {limits.max_header_bytes}. "
            "Send fewer tensors at a time, or raise the limit on the server"
        )
        raise RequestTooLargeError(text)
    size = shared_bytes + (header_bytes if len(frames) == 1 else encoded_bytes(frames))
    if size > limits.max_request_bytes:
        text = (
            f"a message of {size} bytes; the limit is max_request_bytes = {limits.max_request_bytes}. "
            "Send fewer rows at a time, or raise the limit on the server"
        )
        raise RequestTooLargeError(text)


def _check_envelope(frames: Sequence[Buffer], limits: Limits) -> type[Message]:
    first = frames[0] if frames else b""
    if len(first) < ENVELOPE_BYTES or first[: len(MARKER)] != MARKER:
        text = (
            f"not a predictd message: expected a first frame that begins with {MARKER!r}, version and type, "
            f"got {bytes(first[:8])!r} of {len(first)} bytes in {len(frames)} frames; is the endpoint right?"
        )
        raise RemoteProtocolError(text)
    version, number = first[2], first[3]
    if not OLDEST_PROTOCOL_VERSION <= version <= PROTOCOL_VERSION and number not in _ANY_VERSION:
        raise _wrong_version(version, number)
    cls = MESSAGE_TYPES.get(number)
    if cls is None:
        text = f"message type {number}; protocol {version} has the types {min(MESSAGE_TYPES)} to {max(MESSAGE_TYPES)}"
        raise RemoteProtocolError(text)
    if len(frames) > 1 or len(first) > limits.max_header_bytes or len(first) > limits.max_request_bytes:
        check_size(frames, limits)
    return cls


def _wrong_version(version: int, number: int) -> ProtocolVersionError:
    them, us = "peer", "side that got it"
    if number in _OF_CLIENTS:
        them, us = "client", "server"
    elif number in _OF_SERVERS:
        them, us = "server", "client"
    older = us if version > PROTOCOL_VERSION else them
    text = (
        f"a message of protocol {version} from the {them}; the {us} speaks {OLDEST_PROTOCOL_VERSION} to "
        f"{PROTOCOL_VERSION}: the {older} is older; upgrade predictd there"
    )
    ours = [OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION]
    return ProtocolVersionError(text, {"ours": ours, "theirs": [version, version], "older": older})


def _header_of(message: Message, frames: list[Buffer]) -> object:
    if type(message) is PredictRequest:
        return request_header(message, frames)
    if type(message) is PredictResponse:
        return response_header(message, frames)
    return to_plain(message)


def _rare_message_of(cls: type[Message], header: dict[str, Any], frames: Sequence[Buffer]) -> Message:
    if len(frames) > 1:
        text = f"a {cls.__name__} is one frame, got {len(frames)}"
        raise RemoteProtocolError(text)
    return cast("Message", from_plain(cls, header))
