"""A batch in the making: which requests it takes, and how many rows of each.

Owns the rows, the bytes and the reason for which it closes. Pure: no clock, no I/O; pump thread only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from predictd_server.serving.pending import Part, Pending

if TYPE_CHECKING:
    from predictd_server.serving.line import Line


class Forming:
    """A batch in the making.

    Args:
        now: The time (monotonic).
        expire: Called with the time and a request whose time is up; it must release it.
        most_rows: How many rows it may have; 0 where rows of several requests can't share a run.
        most_string_bytes: How many bytes, where rows of strings differ in bytes; None where the rows are all alike.

    Attributes:
        parts: What it has taken.
        rows: Their rows.
        is_full: A request would have had more rows than there was room for.
    """

    __slots__ = ("_bytes", "_expire", "_most_rows", "_most_string_bytes", "_now", "is_full", "parts", "rows")

    def __init__(
        self,
        now: float,
        expire: Callable[[float, Pending], None],
        most_rows: int,
        most_string_bytes: int | None,
    ) -> None:
        self._now = now
        self._expire = expire
        self._most_rows = most_rows
        self._most_string_bytes = most_string_bytes
        self._bytes = 0
        self.parts: list[Part] = []
        self.rows = 0
        self.is_full = False

    @property
    def has_room(self) -> bool:
        """Whether another row would be taken."""
        return not self.parts or self.rows < self._most_rows

    def take_whole(self, line: Line) -> None:
        """Take the next requests of a line that fit one batch, in order; one that is in the way of the rest stays."""
        queue = line.whole.requests
        parts, most_rows = self.parts, self._most_rows
        # Where only rows count, what fits is taken at once: that is nearly every request.
        fits = 0 if self._most_string_bytes is not None else most_rows
        while queue and (self.rows < most_rows or not parts):
            request = queue[0]
            if request.is_over:
                line.whole.drop_shells()
                continue
            if request.deadline_s <= self._now:
                self._expire(self._now, request)
                continue
            rows = request.rows
            if self.rows + rows <= fits:
                queue.popleft()
                parts.append(Part(request, 0, rows))
                request.next_row = rows
                self.rows += rows
                continue
            room = self._room(request)
            if room < rows:
                self.is_full = True
                if parts and (rows <= most_rows or room <= 0):
                    break
                # Batches are short for now, or these strings are long: the rest goes behind those that waited with it.
                line.large.requests.append(queue.popleft())
                self._take(request, room)
                continue
            queue.popleft()
            self._take(request, rows)

    def take_large(self, line: Line) -> None:
        """Take rows of the requests of a line that are larger than a batch; the rest of each goes to the end."""
        queue = line.large.requests
        while queue and self.has_room:
            request = queue[0]
            if request.is_over:
                line.large.drop_shells()
                continue
            if request.deadline_s <= self._now:
                self._expire(self._now, request)
                continue
            room, left = self._room(request), request.rows - request.next_row
            if room <= 0:
                self.is_full = True
                break
            queue.popleft()
            if room < left:
                self.is_full = True
                queue.append(request)
            self._take(request, min(room, left))

    def _take(self, request: Pending, rows: int) -> None:
        self.parts.append(request.take(rows))
        self.rows += rows
        if self._most_string_bytes is not None:
            self._bytes += rows * request.row_bytes

    def _room(self, request: Pending) -> int:
        """Return how many rows of a request it takes; at least one where it is the first."""
        if not self._most_rows:
            return request.rows
        room = self._most_rows - self.rows
        if self._most_string_bytes is not None:
            # Rows of strings have no size in common: here the bytes count, not the sizes that they would allow.
            room = min(room, (self._most_string_bytes - self._bytes) // max(request.row_bytes, 1))
        return room if self.parts else max(room, 1)
