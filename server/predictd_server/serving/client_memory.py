"""Client memory: what the core knows of memory that clients share, and outputs written there instead of into frames.

Owns the seam behind which memory is mapped, the copy of outputs into a client's memory, and the rule of which go there.
It maps nothing. Pure; pump thread only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from predictd_proto.errors import SegmentRefusedError
from predictd_proto.messages import PredictRequest
from predictd_proto.segments import PlacedTensor, Segment, SegmentLimits, aligned, may_be_placed
from predictd_proto.tensors import Buffer, Tensor
from predictd_server.serving.counters import Counters

if TYPE_CHECKING:
    from predictd_server.serving.pending import Pending


#: Kernels take numbers of these for places and lengths: they check one, and read it again to use it.
_INDEX_DTYPES = frozenset(("int32", "int64", "uint32", "uint64"))


class ClientMemory(Protocol):
    """Maps the memory that clients share."""

    def offer(self, peer: bytes) -> SegmentLimits | None:
        """Return what is mapped for a client; None for nothing."""
        ...

    def view(self, peer: bytes, segment: Segment) -> Buffer:
        """Return a segment's memory, which may be written to; it stays while it is held.

        Raises:
            SegmentRefusedError: It can't be had.
        """
        ...


class NoMemory:
    """Shares nothing."""

    def offer(self, peer: bytes) -> SegmentLimits | None:
        """Return None."""
        del peer
        return None

    def view(self, peer: bytes, segment: Segment) -> Buffer:
        """Refuse.

        Raises:
            SegmentRefusedError: Always.
        """
        del peer, segment
        text = "no memory is shared with this server: send tensors in frames"
        raise SegmentRefusedError(text)


@dataclass(slots=True, eq=False)
class ReplyPlace:
    """Where a request's outputs may be written.

    Attributes:
        segment: The segment's place in the request's list.
        memory: It.
        count: Outputs that were.
    """

    segment: int
    memory: Buffer
    count: int = 0

    def put(self, parts: Sequence[Sequence[Tensor]], rows: int) -> list[Tensor] | None:
        """Write outputs, each given in parts along its rows, and return them as one tensor each.

        Those that are small, are no numbers or find no room are not written. None where parts of one differ in shape.

        Args:
            parts: Per part, one tensor per output.
            rows: Of all parts together.
        """
        outputs: list[Tensor] = []
        end = 0
        for tensors in zip(*parts, strict=True):
            first = tensors[0]
            if any(tensor.shape[1:] != first.shape[1:] for tensor in tensors):
                return None
            shape = first.shape if len(tensors) == 1 else (rows, *first.shape[1:])
            size = sum([len(tensor.data) for tensor in tensors])
            if may_be_placed(first.dtype, size) and end + size <= len(self.memory):
                data = self._written(tensors, end, size)
                outputs.append(PlacedTensor(first.name, first.dtype, shape, data, self.segment, end))
                end = aligned(end + size)
            elif len(tensors) == 1:
                outputs.append(first)
            else:
                joined = b"".join([tensor.data for tensor in tensors])
                outputs.append(Tensor(first.name, first.dtype, shape, joined))
        return outputs

    def _written(self, tensors: Sequence[Tensor], start: int, size: int) -> memoryview:
        position = start
        for tensor in tensors:
            copy_bytes(self.memory, position, tensor.data)
            position += len(tensor.data)
        self.count += 1
        return memoryview(self.memory)[start : start + size]


def reply_place(memory: ClientMemory, peer: bytes, message: PredictRequest) -> ReplyPlace | None:
    """Return where a request's outputs may be written; None where that is nowhere."""
    if message.reply_segment is None:
        return None
    try:
        found = memory.view(peer, message.segments[message.reply_segment])
    except SegmentRefusedError:  # counted where it is raised; the outputs travel in frames
        return None
    return ReplyPlace(message.reply_segment, found)


def count_inputs(counters: Counters, message: PredictRequest, frames: Sequence[Buffer]) -> None:
    """Count a request's inputs by the way that they took; those in the header are none."""
    counters.framed_inputs_total += len(frames) - 1
    if message.segments:
        counters.shared_inputs_total += sum([type(tensor) is PlacedTensor for tensor in message.tensors])


def count_outputs(counters: Counters, request: Pending, frames: Sequence[Buffer]) -> None:
    """Likewise a request's outputs."""
    counters.framed_outputs_total += len(frames) - 1
    if request.reply_place is not None:
        counters.shared_outputs_total += request.reply_place.count


def copy_bytes(target: Buffer, offset: int, data: Buffer) -> None:
    """Copy bytes; numpy lets other threads run meanwhile, a slice of a view does not."""
    size = len(data)
    np.copyto(np.frombuffer(target, np.uint8, size, offset), np.frombuffer(data, np.uint8))


def own_integers(request: Pending, drop: Callable[[Pending], object]) -> None:
    """Copy those inputs of a request whose numbers may be places or lengths: its client must not change them meanwhile.

    Args:
        request: One that is admitted: a refusal should cost no copy.
        drop: Lets go of it where there is no memory for one.
    """
    try:
        tensors = [own_copy(tensor) if tensor.dtype in _INDEX_DTYPES else tensor for tensor in request.tensors]
    except MemoryError:
        drop(request)
        raise
    request.tensors = tuple(tensors)


def owned(request: Pending) -> Pending:
    """Copy all inputs: what is answered to others too must not be changed between its key and its run."""
    request.tensors = tuple([own_copy(tensor) for tensor in request.tensors])
    return request


def is_placed(request: Pending) -> bool:
    """Whether an input lies where its client can still change it."""
    return any(type(tensor) is PlacedTensor for tensor in request.tensors)


def own_copy(tensor: Tensor) -> Tensor:
    """Return a tensor whose data nobody else can change."""
    if type(tensor) is not PlacedTensor:
        return tensor
    return Tensor(tensor.name, tensor.dtype, tensor.shape, bytes(tensor.data))
