"""Entries: how tensors are written in a header, and which frame belongs to which of them.

Owns the list `[name, dtype, shape, data]` and the order of the frames. It checks each tensor that arrives, and
allocates nothing for it. Any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from predictd_proto.checks import shown
from predictd_proto.errors import LocalProtocolError, RemoteProtocolError, RequestTooLargeError
from predictd_proto.headers import pack_header
from predictd_proto.limits import INLINE_TENSOR_BYTES, MAX_AXIS, Limits
from predictd_proto.segments import PlacedTensor, placed_of_entry
from predictd_proto.tensors import DTYPE_BYTES, MAX_NAME, STRING, Buffer, Tensor, check_data

_ENTRY_ITEMS = 4
_MOST_BIN8 = 0xFF


def as_bytes(frame: Any) -> bytes | memoryview:
    """Return a frame as bytes, or as a view that is indexed and measured in bytes.

    Raises:
        LocalProtocolError: It has no contiguous buffer.
    """
    if isinstance(frame, bytes):
        return frame
    try:
        view = memoryview(frame)
        return view if view.format == "B" and view.ndim == 1 and view.contiguous else view.cast("B")
    except TypeError as error:
        text = f"a frame: expected contiguous bytes, got a {type(frame).__name__}: {error}"
        raise LocalProtocolError(text) from error


def tensor_entries(tensors: tuple[Tensor, ...], frames: list[Buffer]) -> list[tuple[object, ...]]:
    """Return the tensors' entries, and add the data of the large ones to the frames."""
    entries: list[tuple[object, ...]] = []
    for tensor in tensors:
        if type(tensor) is PlacedTensor:
            entries.append((tensor.name, tensor.dtype, tensor.shape, (tensor.segment, tensor.offset)))
            continue
        data = tensor.data
        if type(data) is not bytes:
            data = as_bytes(data)
        if len(data) <= INLINE_TENSOR_BYTES:
            entries.append((tensor.name, tensor.dtype, tensor.shape, data))
        else:
            entries.append((tensor.name, tensor.dtype, tensor.shape, len(frames)))
            frames.append(data)
    return entries


def tensors_of_entries(
    entries: object, frames: Sequence[Buffer], limits: Limits, memory: Callable[[int], Buffer]
) -> tuple[Tensor, ...]:
    """Return the tensors that a header lists; their data are views into the frames, or of segments.

    Args:
        entries: As the header has them.
        frames: The message.
        limits: What to accept.
        memory: Returns the memory of the segment at a place of the request's list.

    Raises:
        RemoteProtocolError: An entry is wrong, or the frames are not those that the entries point at.
        RequestTooLargeError: They are over a limit.
        SegmentRefusedError: A segment can't be had.
    """
    if type(entries) is not list:
        text = f"tensors: expected a list, got {shown(entries)}"
        raise RemoteProtocolError(text)
    if len(entries) > limits.max_tensors:
        text = (
            f"a message of {len(entries)} tensors; the limit is max_tensors = {limits.max_tensors}. "
            "Raise the limit on the server"
        )
        raise RequestTooLargeError(text)
    next_frame = 1
    placed_bytes = 0
    tensors: list[Tensor] = []
    for entry in entries:
        if type(entry) is not list or len(entry) != _ENTRY_ITEMS:
            text = f"a tensor: expected a list of name, dtype, shape and data, got {shown(entry)}"
            raise RemoteProtocolError(text)
        name, dtype, shape, data = entry
        if type(data) is list:
            _check_spec(name, dtype, shape, limits)
            tensors.append(placed_of_entry(name, dtype, tuple(shape), data, memory))
            placed_bytes += len(tensors[-1].data)
            continue
        if type(data) is int:
            if data != next_frame or data >= len(frames):
                text = (
                    f"tensor {shown(name)}: its data is in frame {data}; "
                    f"expected frame {next_frame} of {len(frames)}, as each is used once and in order"
                )
                raise RemoteProtocolError(text)
            data = frames[data]
            next_frame += 1
        tensors.append(_tensor_of(name, dtype, shape, data, limits))
    if next_frame != len(frames):
        text = f"{len(frames)} frames; expected {next_frame}, as no tensor points at the others"
        raise RemoteProtocolError(text)
    if placed_bytes and placed_bytes + sum(map(len, frames)) > limits.max_request_bytes:
        text = (
            f"a message of {placed_bytes} bytes in shared memory and {sum(map(len, frames))} in frames; the limit is "
            f"max_request_bytes = {limits.max_request_bytes}. Send fewer rows at a time, or raise the limit on the "
            "server"
        )
        raise RequestTooLargeError(text)
    return tuple(tensors)


def packed_entry(tensor: Tensor) -> bytes:
    """Return a small tensor's entry as msgpack, without the data that it ends with."""
    size = len(tensor.data)
    # msgpack's specification: 0x94 a list of four, 0xc4 and 0xc5 bytes with a length of one and two bytes.
    length = bytes((0xC4, size)) if size <= _MOST_BIN8 else b"\xc5" + size.to_bytes(2, "big")
    parts = [pack_header(part, "a tensor's entry") for part in (tensor.name, tensor.dtype, tensor.shape)]
    return b"".join((b"\x94", *parts, length))


def check_rows(tensors: tuple[Tensor, ...], limits: Limits) -> None:
    """Check the rows of a request.

    Raises:
        RequestTooLargeError: There are too many.
    """
    for tensor in tensors:
        if tensor.shape and tensor.shape[0] > limits.max_rows:
            text = (
                f"tensor {tensor.name!r}: {tensor.shape[0]} rows; the limit is max_rows = {limits.max_rows}. "
                "Send fewer rows at a time, or raise the limit on the server"
            )
            raise RequestTooLargeError(text)


def _tensor_of(name: Any, dtype: Any, shape: Any, data: object, limits: Limits) -> Tensor:
    _check_spec(name, dtype, shape, limits)
    if not isinstance(data, (bytes, memoryview)):
        text = f"tensor {name!r}: data is bytes, a frame's number or a place in a segment, got {shown(data)}"
        raise RemoteProtocolError(text)
    tensor = Tensor(name, dtype, tuple(shape), data)
    check_data(tensor)
    return tensor


def _check_spec(name: object, dtype: object, shape: object, limits: Limits) -> None:
    if type(name) is not str or len(name) > MAX_NAME:
        text = f"a tensor's name: expected text of at most {MAX_NAME} characters, got {shown(name)}"
        raise RemoteProtocolError(text)
    if type(dtype) is not str or (dtype not in DTYPE_BYTES and dtype != STRING):
        text = f"tensor {name!r}: unknown dtype {shown(dtype)}"
        raise RemoteProtocolError(text)
    if type(shape) is not list:
        text = f"tensor {name!r}: a shape is a list of axis lengths, got {shown(shape)}"
        raise RemoteProtocolError(text)
    if len(shape) > limits.max_rank:
        text = f"tensor {name!r}: {len(shape)} axes; the limit is max_rank = {limits.max_rank}"
        raise RequestTooLargeError(text)
    for axis in shape:
        if type(axis) is not int or not 0 <= axis <= MAX_AXIS:
            text = f"tensor {name!r}: an axis is a whole number from 0 to 2**48 - 1, got {shown(axis)}"
            raise RemoteProtocolError(text)
