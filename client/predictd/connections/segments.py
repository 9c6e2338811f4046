"""Segments: this process's memory that a server on the same machine maps, so that large tensors are never sent.

Owns the segments of one connection: lending them to requests, and when each may be used again. What all connections of
a process have together is the room's (`shared_room.py`). It sends nothing. Whoever has the connection; outputs that lie
in a segment may be let go of by any thread.

A segment is a sealed memfd, so it has no name that could be left behind, and neither side can take it from under the
other. It is used again and again: fresh memory costs six to ten copies (12 MB: 6 to 10 ms, a copy 0.9), as each page
has to be found and cleared. It may be used again when nobody reads or writes it any more:

- that of inputs, when their request is answered with outputs. After an error, a time-out or a cancel the server may
  still read it, so it is given away: unmapped here, and gone when the server has let go of it too;
- that of outputs likewise, and once nobody here holds what lies in it.

A child process never uses its parent's: it has other connections, and closes none of what it inherited.
"""

from __future__ import annotations

import mmap
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from predictd.connections.shared_room import CAN_SHARE, Idle, Memory, Room, bytes_taken
from predictd.process import Process, set_aside, this_process
from predictd_proto.errors import RemoteProtocolError
from predictd_proto.segments import PlacedTensor, Segment, SegmentLimits, aligned, may_be_placed
from predictd_proto.tensors import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from predictd_proto.messages import Welcome

#: What a process keeps of segments that no request uses; beyond it a connection gives up its own with each answer.
KEPT_BYTES = 256 << 20

#: Memory that is larger by more is left for a request that needs it: else the next one of its size makes more.
_MOST_TIMES_LARGER = 4

#: Sizes come in steps of a quarter, so that requests of nearly one size share their segments.
_SIZE_BITS = 2

#: A late answer to a request that was given up must be readable: of so many it is known what they were lent.
_MOST_GIVEN_UP = 256


class _Loan:
    """What one request has been lent.

    Attributes:
        inputs: Where its inputs lie.
        outputs: Where its outputs may be written.
        view: What lies there; None until an answer came.
    """

    __slots__ = ("inputs", "outputs", "view")

    def __init__(self, inputs: Memory | None, outputs: Memory | None) -> None:
        self.inputs: Memory | None = inputs
        self.outputs: Memory | None = outputs
        self.view: NDArray[np.uint8] | None = None

    @property
    def memories(self) -> list[Memory]:
        """In the order of their announcement."""
        return [memory for memory in (self.inputs, self.outputs) if memory is not None]


class Segments:
    """The segments of one connection.

    Args:
        limits: What the server maps for this process.
        server_id: Which server.
    """

    __slots__ = ("_given_up", "_idle", "_is_closed", "_limits", "_loans", "_process", "_room")

    def __init__(self, limits: SegmentLimits, server_id: str) -> None:
        self._process: Process = this_process()
        self._limits = limits
        self._room = Room.of(self._process, server_id)
        self._idle = Idle()
        self._room.add(self._idle)
        self._loans: dict[int, _Loan] = {}
        self._given_up: dict[int, int] = {}
        self._is_closed = False

    @property
    def is_lent(self) -> bool:
        """Whether any request that may be answered has been lent something."""
        return bool(self._loans or self._given_up)

    def lend(
        self, request_id: int, tensors: Sequence[Tensor], reply_bytes: int
    ) -> tuple[tuple[Tensor, ...], tuple[Segment, ...], int | None]:
        """Copy a request's large tensors into a segment, and find another for its outputs.

        Args:
            request_id: Whose.
            tensors: All of them.
            reply_bytes: What its outputs will take there; 0 where that isn't known, or little.

        Returns:
            The tensors, as they travel; the segments to announce; and which of them is for the outputs, if any.
        """
        size = 0
        for tensor in tensors:
            if may_be_placed(tensor.dtype, len(tensor.data)):
                size = aligned(size + len(tensor.data))
        if not (size or reply_bytes) or not self._is_open():
            return tuple(tensors), (), None
        inputs = self._take(size) if size else None
        outputs = self._take(reply_bytes) if reply_bytes else None
        if inputs is None and outputs is None:
            return tuple(tensors), (), None
        loan = self._loans[request_id] = _Loan(inputs, outputs)
        placed = tuple(tensors) if inputs is None else _placed(tensors, inputs)
        memories = loan.memories
        return placed, tuple([memory.announced for memory in memories]), len(memories) - 1 if outputs else None

    def outputs(self, request_id: int, number: int) -> memoryview:
        """Return the memory into which the outputs of a request were written; it stays while it is held.

        Raises:
            RemoteProtocolError: None was lent for them.
        """
        if request_id in self._given_up:
            # Nobody will look at them: memory that is never touched.
            return memoryview(mmap.mmap(-1, self._given_up[request_id]))
        loan = self._loans.get(request_id)
        if loan is None or loan.outputs is None or number != len(loan.memories) - 1:
            text = f"an output in segment {number}, which was not offered for the outputs of this request"
            raise RemoteProtocolError(text)
        if loan.view is None:
            memory = loan.outputs
            loan.view = np.frombuffer(memory.mapping, np.uint8)
            # Whatever is made of it holds on to this array, so its end is that of all.
            weakref.finalize(loan.view, self._idle.put, memory).atexit = False
        return loan.view.data

    def settle(self, request_id: int, *, is_answered: bool) -> bool:
        """End a request's loan.

        Args:
            request_id: Whose; of one that was lent nothing, nothing happens.
            is_answered: Whether the server has done with it, so that what was lent may be used again.

        Returns:
            Whether there was one; of a request that was given up there is none any more.
        """
        self._given_up.pop(request_id, None)
        loan = self._loans.pop(request_id, None)
        if loan is None or not is_answered:
            return loan is not None
        for memory in loan.memories:
            if memory is not loan.outputs or loan.view is None:
                self._idle.put(memory)
        if bytes_taken(self._process) > KEPT_BYTES:
            for _, number in self._idle.since():
                self._idle.end(number)
        return True

    def give_up(self, request_id: int) -> None:
        """Take note that nobody waits for the answer to a request any more; the server may still work on it."""
        loan = self._loans.pop(request_id, None)
        if loan is not None and loan.outputs is not None:
            if len(self._given_up) >= _MOST_GIVEN_UP:
                self._given_up.pop(next(iter(self._given_up)))
            self._given_up[request_id] = loan.outputs.byte_count

    def end_loans(self) -> None:
        """End all loans: nobody waits for an answer. The server may be at what was lent, so it is let go of."""
        self._loans.clear()
        self._given_up.clear()

    def refuse(self) -> None:
        """Take note that the server could not map a segment: for a while it is sent everything in frames."""
        self._room.refuse()

    def close(self) -> None:
        """Let go of all; what lies in them stays with those who hold it."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._process is not this_process():
            set_aside(self)
            return
        self._loans.clear()
        self._given_up.clear()
        self._idle.close()

    def _is_open(self) -> bool:
        return not self._is_closed and not self._room.is_refused

    def _take(self, byte_count: int) -> Memory | None:
        memory = self._idle.take(byte_count, byte_count * _MOST_TIMES_LARGER)
        return self._room.make(_rounded(byte_count), self._limits) if memory is None else memory


def segments_for(address: str, greeting: Welcome) -> Segments | None:
    """Return what a connection shares with its server; None for nothing.

    Args:
        address: Where it leads.
        greeting: What the server said.
    """
    if greeting.segments is None or not may_share(address):
        return None
    return Segments(greeting.segments, greeting.server_id)


def may_share(address: str) -> bool:
    """Whether memory could be shared with a server at an address: one on this machine, where the system can."""
    return CAN_SHARE and address.startswith("ipc://")


def _placed(tensors: Sequence[Tensor], memory: Memory) -> tuple[Tensor, ...]:
    target = np.frombuffer(memory.mapping, np.uint8)
    placed: list[Tensor] = []
    end = 0
    for tensor in tensors:
        data = tensor.data
        if may_be_placed(tensor.dtype, len(data)):
            # Lets other threads run meanwhile, which a slice of a view does not.
            np.copyto(target[end : end + len(data)], np.frombuffer(data, np.uint8))
            placed.append(PlacedTensor(tensor.name, tensor.dtype, tensor.shape, data, 0, end))
            end = aligned(end + len(data))
        else:
            placed.append(tensor)
    return tuple(placed)


def _rounded(byte_count: int) -> int:
    step = max(1 << max(byte_count.bit_length() - 1 - _SIZE_BITS, 0), mmap.PAGESIZE)
    return -(-byte_count // step) * step
