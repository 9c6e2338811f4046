"""A lane: requests that may share a batch, in order of arrival.

Owns the forming of one batch from one lane: how many rows, which allowed size, why it closes. Pure: no clock, no I/O;
pump thread only. Requests share a lane when they ask for the same signature with rows of the same shape.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from predictd_server.serving.batch import DRAIN, FULL, GATHERED, IDLE, SHARED, WINDOW, Batch
from predictd_server.serving.fair_shares import Share
from predictd_server.serving.ladder import allowed_size, within_bytes
from predictd_server.serving.lengths import Shape, shape_bytes
from predictd_server.serving.model_queue import ModelQueue
from predictd_server.serving.pending import Part, Pending
from predictd_server.serving.served import ServedSignature

#: Shells of cancelled and expired requests that a queue may hold without being swept.
MOST_DEAD = 256

#: A smaller batch lets others have the engine sooner. It may cost this much more time for a row, and no more: a model
#: whose runs take nearly as long for few rows as for many would only get slower by it.
MOST_COST = 1.25

LaneKey = tuple[object, ...]


class Lane:
    """Requests that may share a batch.

    Args:
        key: What it is found by.
        signature: What they ask for.
        shapes: The shape that a row of each input has, or is padded to.
        model: Its model's part of the queue.
        max_batch_bytes: Bound on a batch's inputs; four 12 MB rows at once ran at half the rate of one at a time.
        window_s: How long the oldest request may wait for company while the engine is idle.

    Attributes:
        share: Its part of the engine among its model's lanes.
        is_outdated: The models have changed since it was made: once it is empty it goes, and lets go of its model.
    """

    def __init__(
        self,
        key: LaneKey,
        signature: ServedSignature,
        shapes: tuple[Shape, ...],
        model: ModelQueue,
        *,
        max_batch_bytes: int,
        window_s: float,
    ) -> None:
        self.key = key
        self.model = model
        self.share = Share()
        self.signature = signature
        self.shapes = shapes
        self.window_s = window_s
        self._max_batch_bytes = max_batch_bytes
        self._sizes = self.signature.sizes
        if not self.signature.has_string_inputs:
            self._sizes = within_bytes(self._sizes, shape_bytes(signature.spec.inputs, shapes), max_batch_bytes)
        self.max_rows = self._sizes[-1] if self._sizes else 0
        self.is_outdated = False
        self.queue: deque[Pending] = deque()
        self.waiting_rows = 0
        self._dead = 0

    def add(self, request: Pending) -> None:
        """Queue a request."""
        self.queue.append(request)
        self.waiting_rows += request.rows

    def release(self, request: Pending) -> int:
        """Let go of the rows of a request that is over before they ran; return how many there were.

        Its empty shell stays until all before it have gone, or until shells are the greater part of the queue.
        """
        left = request.rows - request.next_row
        if left:
            request.next_row = request.rows
            self.waiting_rows -= left
            self._dead += 1
            if not request.batches:
                request.tensors = ()
            if self._dead > MOST_DEAD and 2 * self._dead > len(self.queue):
                self.queue = deque(waiting for waiting in self.queue if not waiting.is_over)
                self._dead = 0
            self._drop_shells()
        return left

    @property
    def waiting_requests(self) -> int:
        """Requests that wait, the rest of those that were cut among them. Any thread."""
        return max(len(self.queue) - self._dead, 0)

    def _drop_shells(self) -> None:
        """Keep the oldest living request first: the window closes by it, and status tells its age."""
        while self.queue and self.queue[0].is_over:
            self.queue.popleft()
            self._dead -= 1

    def closes_at(self) -> float:
        """Return the instant at which a batch may leave; in the past when it may leave now.

        The lane must not be empty.
        """
        if not self.window_s or self.waiting_rows >= self.max_rows:
            return 0.0
        oldest = self.queue[0]
        return min(oldest.arrived_s, oldest.queued_s) + self.window_s

    def rows_within(self, run_s: float) -> int:
        """Return how many rows a batch may have so that it takes no longer than `run_s`, or little longer.

        At least one allowed size; all of them where a smaller one takes hardly less time, or nothing is known.
        """
        costs_s, most = self.signature.costs_s, self.max_rows
        full_s = costs_s.get(most, 0.0)
        for size in reversed(self._sizes[:-1]):
            cost_s = costs_s.get(size)
            if cost_s is None or cost_s * self.max_rows > MOST_COST * full_s * size:
                break
            most = size
            if cost_s <= run_s:
                break
        return most

    def rows_beside(self, run_s: float) -> int:
        """Return how many rows a batch may have that takes no longer than `run_s`; 0 where none is known to.

        Also where more rows wait than that, and one batch of them all would take much less time for each.
        """
        signature = self.signature
        for size in reversed(self._sizes):
            cost_s = signature.expected_s(size)
            if cost_s <= run_s:
                if size == self.max_rows or self.waiting_rows <= size:
                    return size
                full_s = signature.costs_s.get(self.max_rows, 0.0)
                return size if cost_s * self.max_rows <= MOST_COST * full_s * size else 0
        return 0

    def take_batch(
        self,
        now: float,
        expire: Callable[[float, Pending], None],
        *,
        most_rows: int,
        is_draining: bool,
    ) -> Batch | None:
        """Return the next batch; None when no request was left.

        Args:
            now: The time (monotonic).
            expire: Called with the time and a request whose time is up; it must release it.
            most_rows: At most `max_rows`; fewer where others are to have the engine soon.
            is_draining: Whether the server shuts down.
        """
        parts: list[Part] = []
        rows = byte_count = 0
        cut: list[Pending] = []
        is_full = False
        # Where only rows count, what fits is taken at once: that is nearly every request.
        fits = most_rows if self.max_rows and not self.signature.has_string_inputs else 0
        while self.queue and (rows < most_rows or not parts):
            request = self.queue[0]
            if request.is_over:
                self._drop_shells()
                continue
            if request.deadline_s <= now:
                expire(now, request)
                continue
            left = request.rows - request.next_row
            if rows + left <= fits:
                self.queue.popleft()
                parts.append(Part(request, request.next_row, left))
                request.next_row = request.rows
                rows += left
                continue
            room = self._room(request, most_rows - rows, byte_count, is_first=not parts)
            is_full = room < left
            if is_full and parts and (request.rows <= most_rows or room <= 0):
                break
            self.queue.popleft()
            if is_full:
                cut.append(request)
            parts.append(request.take(min(left, room)))
            rows += parts[-1].rows
            byte_count += parts[-1].rows * request.row_bytes
            if not self.max_rows:
                break
        # The rest of a cut request goes behind those that waited with it: no one waits longer than one batch for it.
        self.queue.extend(cut)
        self._drop_shells()
        self.waiting_rows -= rows
        if not parts:
            return None
        size = allowed_size(self._sizes, rows) if self._sizes else rows
        is_full = is_full or bool(cut) or (rows == most_rows and (len(parts) > 1 or self.window_s > 0))
        if is_full:
            reason = FULL if most_rows == self.max_rows else SHARED
        else:
            reason = self._reason(parts, is_draining=is_draining)
        return Batch(self.signature, parts, rows, size, self.shapes, reason, now)

    def _room(self, request: Pending, room: int, byte_count: int, *, is_first: bool) -> int:
        """Return how many rows of a request a batch with room for so many takes; at least one where it is the first."""
        if not self.max_rows:
            return request.rows
        if self.signature.has_string_inputs:
            # Rows of strings have no size in common: here the bytes count, not the sizes that they would allow.
            room = min(room, (self._max_batch_bytes - byte_count) // max(request.row_bytes, 1))
        return max(room, 1) if is_first else room

    def _reason(self, parts: list[Part], *, is_draining: bool) -> str:
        if is_draining:
            return DRAIN
        if self.window_s:
            return WINDOW
        return GATHERED if len(parts) > 1 else IDLE
