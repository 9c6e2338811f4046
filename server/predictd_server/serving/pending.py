"""A request that waits or runs, cut into the parts that its batches take.

Owns a request's progress from admission to its reply. It decides nothing; the core does. Pump thread only, but for the
parts of a batch that the engine thread reads while it runs it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from predictd_proto.tensors import Buffer, Tensor, string_row_offsets

if TYPE_CHECKING:
    from predictd_server.serving.caller_class import CallerClass
    from predictd_server.serving.calling_task import CallingTask
    from predictd_server.serving.client_memory import ReplyPlace
    from predictd_server.serving.lane import Lane
    from predictd_server.serving.lengths import Cut
    from predictd_server.serving.line import Line
    from predictd_server.serving.served import ServedSignature
    from predictd_server.serving.single_flight import Flight


@dataclass(slots=True, eq=False)
class Pending:
    """One admitted request.

    Attributes:
        peer: Routing id of the client's socket.
        id: The request's id on that socket.
        signature: What it asks for.
        tensors: Its inputs, in the signature's order; views into the received frames.
        rows: Rows of each input.
        byte_count: Bytes of all inputs.
        arrived_s: When it was admitted (monotonic).
        deadline_s: When its caller stops waiting (monotonic).
        queued_s: When the caller came whose work it took over (monotonic); infinite where it is its own.
        next_row: Rows below this one have been given to batches.
        finished_rows: Rows whose outputs have arrived.
        cuts: What is cut off its outputs, since it was added to its inputs; None where nothing is.
        flight: Those that ask the same as it, where they share an answer.
        caller: The class of its caller; None where all are treated alike.
        task: The task that it is for; None where it names none.
        lane: Where it waits; None before it was admitted.
        line: Likewise, and among whom.
        reply_place: Where its outputs may be written; None where they travel in frames.
        is_over: Answered, cancelled or expired: whatever still comes is dropped.
        outputs: Per part, in order, one tensor per output.
    """

    peer: bytes
    id: int
    signature: ServedSignature
    tensors: tuple[Tensor, ...]
    rows: int
    byte_count: int
    arrived_s: float
    deadline_s: float
    caller: CallerClass | None = None
    task: CallingTask | None = None
    queued_s: float = math.inf
    next_row: int = 0
    finished_rows: int = 0
    is_over: bool = False
    queue_s: float = 0.0
    assemble_s: float = 0.0
    execute_s: float = 0.0
    split_s: float = 0.0
    batches: int = 0
    outputs: list[list[Tensor]] = field(default_factory=list)
    lane: Lane | None = None
    line: Line | None = None
    cuts: tuple[tuple[Cut, ...], ...] | None = None
    flight: Flight | None = None
    reply_place: ReplyPlace | None = None
    _offsets: list[list[int]] | None = None

    @property
    def ran_s(self) -> float:
        """Seconds that its batches have taken so far."""
        return self.assemble_s + self.execute_s + self.split_s

    @property
    def counted_rows(self) -> int:
        """Of the rows that wait, those that count."""
        return min(self.rows - self.next_row, self.signature.most_counted_rows)

    def uncounted_rows(self, taken_rows: int) -> int:
        """Return by how many those that count became fewer when a batch took some."""
        left_rows = self.rows - self.next_row
        return min(left_rows + taken_rows, self.signature.most_counted_rows) - self.counted_rows

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of all inputs; their mean where rows differ."""
        return self.byte_count // max(self.rows, 1)

    def take(self, rows: int) -> Part:
        """Give the next rows to a batch."""
        part = Part(self, self.next_row, rows)
        self.next_row += rows
        return part

    def row_slice(self, index: int, start: int, rows: int) -> Buffer:
        """Return the bytes of some rows of input `index`; a view."""
        tensor = self.tensors[index]
        if rows == self.rows:
            return tensor.data
        if tensor.dtype == "string":
            offsets = self._string_offsets(index)
            return memoryview(tensor.data)[offsets[start] : offsets[start + rows]]
        row_bytes = len(tensor.data) // self.rows
        return memoryview(tensor.data)[start * row_bytes : (start + rows) * row_bytes]

    def _string_offsets(self, index: int) -> list[int]:
        if self._offsets is None:
            self._offsets = [string_row_offsets(tensor) if tensor.dtype == "string" else [] for tensor in self.tensors]
        return self._offsets[index]


@dataclass(slots=True, eq=False)
class Part:
    """Some rows of a request, as one batch takes them."""

    request: Pending
    start: int
    rows: int
