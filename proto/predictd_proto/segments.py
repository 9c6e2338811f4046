"""Segments: memory of a client that its server maps, so that large tensors are never sent; what both say of it.

Owns the announcement, the bounds, which tensors may lie there, and where one does. It opens and maps nothing: a
client's `connections/segments.py` and a server's `sockets/segments.py` do. Any thread.

What lies in a segment may change while it is read, by a peer that breaks the rules. So nothing lies there of which some
bytes are no value (bool) or decide about lengths (strings), and all that is checked is the header's. Whole numbers may
decide about places and lengths in a graph: a server copies those (`serving/client_memory.py`) before it checks them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from math import prod
from typing import Any

from predictd_proto.checks import check_int, shown
from predictd_proto.dtypes import DTYPE_BYTES, Buffer
from predictd_proto.errors import RemoteProtocolError
from predictd_proto.limits import MAX_ID
from predictd_proto.tensors import Tensor

#: Tensors from this size on go by a segment, where there is one.
SHARED_TENSOR_BYTES = 1 << 18

#: A tensor in a segment begins at a multiple of this: TensorFlow then reads it where it is.
SEGMENT_ALIGNMENT_BYTES = 64

#: Segments that one request may announce.
MAX_SEGMENTS = 8

_UINT64 = (1 << 64) - 1
_PLACE_ITEMS = 2

#: Returns a segment's memory; raises `SegmentRefusedError` where it can't be had.
RequestMemory = Callable[["Segment"], Buffer]

#: Returns the memory that a request, given by its id, announced at this place of its list.
ReplyMemory = Callable[[int, int], Buffer]


@dataclass(frozen=True, slots=True)
class Segment:
    """A client's announcement of one segment.

    Attributes:
        descriptor: Its number among the file descriptors of the process at the other end of the connection.
        device: The file system that it belongs to, as fstat(2) has it.
        inode: Its number there; both tell it from whatever else may have come to that descriptor.
        byte_count: Its size.
    """

    descriptor: int
    device: int
    inode: int
    byte_count: int

    def __post_init__(self) -> None:
        check_int("a segment's descriptor", self.descriptor, 0, MAX_ID)
        check_int("a segment's device", self.device, 0, _UINT64)
        check_int("a segment's inode", self.inode, 0, _UINT64)
        check_int("a segment's bytes", self.byte_count, 1, MAX_ID)

    @property
    def entry(self) -> tuple[int, ...]:
        """It, as it is written in a header."""
        return (self.descriptor, self.device, self.inode, self.byte_count)


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentLimits:
    """What a server maps for one client.

    Attributes:
        max_segments: Segments at once.
        max_bytes: Their bytes together.
    """

    max_segments: int
    max_bytes: int

    def __post_init__(self) -> None:
        check_int("max_segments", self.max_segments, 1, MAX_ID)
        check_int("max_bytes", self.max_bytes, 1, MAX_ID)


@dataclass(slots=True, unsafe_hash=True)
class PlacedTensor(Tensor):
    """A tensor whose data lie in a segment.

    Attributes:
        segment: The place of the segment in its request's list.
        offset: Where in it the data begin.
    """

    segment: int = 0
    offset: int = 0


def may_be_placed(dtype: str, byte_count: int) -> bool:
    """Whether a tensor should go by a segment: large, and of a dtype of which any bytes are a value."""
    return byte_count >= SHARED_TENSOR_BYTES and is_placeable(dtype)


def is_placeable(dtype: str) -> bool:
    """Whether tensors of a dtype may lie in a segment."""
    return dtype in DTYPE_BYTES and dtype != "bool"


def aligned(offset: int) -> int:
    """Return the first place from an offset on where a tensor may begin."""
    return -(-offset // SEGMENT_ALIGNMENT_BYTES) * SEGMENT_ALIGNMENT_BYTES


def segments_of_entries(entries: object) -> tuple[Segment, ...]:
    """Return the segments that a header announces.

    Raises:
        RemoteProtocolError: They are too many, or no segments.
        LocalProtocolError: A number of one is wrong.
    """
    if type(entries) is not list or len(entries) > MAX_SEGMENTS:
        text = f"segments: expected a list of at most {MAX_SEGMENTS}, got {shown(entries)}"
        raise RemoteProtocolError(text)
    size = len(fields(Segment))
    for entry in entries:
        if type(entry) is not list or len(entry) != size:
            text = f"a segment: expected a list of descriptor, device, inode and bytes, got {shown(entry)}"
            raise RemoteProtocolError(text)
    return tuple([Segment(*entry) for entry in entries])


def placed_of_entry(
    name: str, dtype: str, shape: tuple[int, ...], place: list[Any], memory: Callable[[int], Buffer]
) -> PlacedTensor:
    """Return the tensor at a place; its data are a view of the segment.

    Args:
        name: The tensor's name.
        dtype: Its dtype, one of the wire's.
        shape: Its axes, each checked.
        place: As the header has it: the segment's place in the request's list, and an offset.
        memory: Returns the memory of the segment at a place of the list.

    Raises:
        RemoteProtocolError: There can be no such tensor.
        SegmentRefusedError: The segment can't be had.
    """
    if len(place) != _PLACE_ITEMS or any(type(item) is not int or item < 0 for item in place):
        text = f"tensor {name!r}: a place is a segment's number and an offset, got {shown(place)}"
        raise RemoteProtocolError(text)
    number, offset = place
    if not is_placeable(dtype):
        text = f"tensor {name!r}: {dtype} never lies in a segment, as not all bytes are a value of it"
        raise RemoteProtocolError(text)
    if offset % SEGMENT_ALIGNMENT_BYTES:
        text = f"tensor {name!r}: begins at byte {offset} of its segment; expected a multiple of "
        text += str(SEGMENT_ALIGNMENT_BYTES)
        raise RemoteProtocolError(text)
    size = prod(shape) * DTYPE_BYTES[dtype]
    whole = memoryview(memory(number))
    if not size or offset + size > len(whole):
        text = (
            f"tensor {name!r}: {dtype}{list(shape)} takes {size} bytes from byte {offset} on; "
            f"its segment has {len(whole)}, and one of no bytes never lies in a segment"
        )
        raise RemoteProtocolError(text)
    return PlacedTensor(name, dtype, shape, whole[offset : offset + size], number, offset)
