"""Admission: which requests are queued and which are refused at once, with a reason.

Owns the bounds on what waits (rows, bytes) and the estimate of when a retry is worth it. Pure; pump thread only.
"""

from __future__ import annotations

import math

from predictd_proto.errors import OverloadedError

#: Until a first batch has run there is no rate to estimate from.
FIRST_RETRY_MS = 100
MOST_RETRY_MS = 10_000


class Admission:
    """The bounded queue's book-keeping.

    Of a request that will be cut, only as many rows count as one batch takes: its rest stands behind whatever came
    meanwhile, so a million rows in one request keep nobody waiting longer than a batch, and must not shut anybody out.
    A request that alone exceeds a bound is admitted when nothing else waits, or it could never be served.

    Args:
        max_rows: Rows that may wait.
        max_bytes: Bytes that admitted requests may hold until they are answered.

    Attributes:
        requests: Requests without an answer.
        rows: Rows that wait, all of them.
        counted_rows: Those that count.
        bytes: Bytes that requests without an answer hold.
    """

    def __init__(self, *, max_rows: int, max_bytes: int) -> None:
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self.requests = 0
        self.rows = 0
        self.counted_rows = 0
        self.bytes = 0
        self._seconds_per_row = 0.0

    def admit(self, rows: int, counted_rows: int, byte_count: int) -> None:
        """Count a request in.

        Raises:
            OverloadedError: A bound would be passed; carries `retry_after_ms`.
        """
        too_many = self.counted_rows + counted_rows > self._max_rows
        if self.requests and (too_many or self.bytes + byte_count > self._max_bytes):
            raise self._overloaded(counted_rows, byte_count)
        self.requests += 1
        self.rows += rows
        self.counted_rows += counted_rows
        self.bytes += byte_count

    def start(self, rows: int, counted_rows: int) -> None:
        """Count rows out of the queue: they run, or were dropped."""
        self.rows -= rows
        self.counted_rows -= counted_rows

    def finish(self, byte_count: int) -> None:
        """Count a request out: it was answered or dropped."""
        self.requests -= 1
        self.bytes -= byte_count

    def observe(self, rows: int, seconds: float) -> None:
        """Take a finished run into account for later estimates."""
        per_row = seconds / max(rows, 1)
        weight = 0.1 if self._seconds_per_row else 1.0
        self._seconds_per_row += weight * (per_row - self._seconds_per_row)

    def retry_after_ms(self) -> int:
        """Return how long the rows that wait now will take, in milliseconds."""
        if not self._seconds_per_row:
            return FIRST_RETRY_MS
        estimate = math.ceil(self.rows * self._seconds_per_row * 1000)
        return min(max(estimate, 1), MOST_RETRY_MS)

    def _overloaded(self, counted_rows: int, byte_count: int) -> OverloadedError:
        retry_after_ms = self.retry_after_ms()
        text = (
            f"the queue is full: {self.requests} requests hold {self.counted_rows} rows (of each at most a batch "
            f"counts) and {self.bytes} bytes, this one would add {counted_rows} and {byte_count}; the bounds are "
            f"max_queue_rows = {self._max_rows} and max_queue_bytes = {self._max_bytes}. "
            f"Try again in {retry_after_ms} ms"
        )
        return OverloadedError(text, {"retry_after_ms": retry_after_ms})
