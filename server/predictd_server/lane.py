"""A lane: requests that may share a batch, in order of arrival.

Owns the forming of one batch from one lane: how many rows, which allowed size, why it closes. Pure: no clock, no I/O;
pump thread only. Requests share a lane when they ask for the same signature with rows of the same shape.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from predictd_server.batch import DRAIN, FULL, GATHERED, IDLE, WINDOW, Batch
from predictd_server.ladder import allowed_size, within_bytes
from predictd_server.pending import Part, Pending
from predictd_server.served import ServedSignature


class Lane:
    """Requests that may share a batch.

    Args:
        request: The first of them; the rest have rows of the same shapes.
        max_batch_bytes: Bound on a batch's inputs; four 12 MB rows at once ran at half the rate of one at a time.
        window_s: How long the oldest request may wait for company while the engine is idle.
    """

    def __init__(self, request: Pending, *, max_batch_bytes: int, window_s: float) -> None:
        self.signature: ServedSignature = request.signature
        self.shapes = tuple(tensor.shape[1:] for tensor in request.tensors)
        self.window_s = window_s
        row_bytes = request.byte_count // max(request.rows, 1)
        self._sizes = within_bytes(self.signature.sizes, row_bytes, max_batch_bytes)
        self.max_rows = self._sizes[-1] if self._sizes else 0
        self.queue: deque[Pending] = deque()
        self.waiting_rows = 0

    def add(self, request: Pending) -> None:
        """Queue a request."""
        self.queue.append(request)
        self.waiting_rows += request.rows

    def closes_at(self) -> float:
        """Return the instant at which a batch may leave; in the past when it may leave now.

        The lane must not be empty.
        """
        if not self.window_s or self.waiting_rows >= self.max_rows:
            return 0.0
        return self.queue[0].arrived_s + self.window_s

    def take_batch(self, now: float, drop: Callable[[Pending], bool], *, is_draining: bool) -> Batch | None:
        """Return the next batch; None when every request was dropped.

        Args:
            now: The time (monotonic).
            drop: Whether a request is no longer to be run; called once before each is taken.
            is_draining: Whether the server shuts down.
        """
        parts: list[Part] = []
        rows = 0
        cut: list[Pending] = []
        while self.queue and (rows < self.max_rows or not parts):
            request = self.queue[0]
            if drop(request):
                self._forget(request)
                continue
            left = request.rows - request.next_row
            room = left if not self.max_rows else self.max_rows - rows
            if left > room and request.rows <= self.max_rows:
                break
            self.queue.popleft()
            if left > room:
                cut.append(request)
            parts.append(request.take(min(left, room)))
            rows += parts[-1].rows
            if not self.max_rows:
                break
        # The rest of a cut request goes behind those that waited with it: no one waits longer than one batch for it.
        self.queue.extend(cut)
        self.waiting_rows -= rows
        return self._batch(parts, rows, now, is_draining=is_draining) if parts else None

    def _forget(self, request: Pending) -> None:
        self.queue.popleft()
        self.waiting_rows -= request.rows - request.next_row

    def _batch(self, parts: list[Part], rows: int, now: float, *, is_draining: bool) -> Batch:
        size = allowed_size(self._sizes, rows) if self._sizes else rows
        return Batch(self.signature, parts, rows, size, self.shapes, self._reason(parts, rows, is_draining), now)

    def _reason(self, parts: list[Part], rows: int, is_draining: bool) -> str:
        if rows == self.max_rows and len(parts) > 1:
            return FULL
        if is_draining:
            return DRAIN
        if self.window_s:
            return WINDOW
        return GATHERED if len(parts) > 1 else IDLE
