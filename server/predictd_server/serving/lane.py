"""A lane: requests that may share a batch, in a line for each class of callers.

Owns the forming of one batch from one lane: which allowed size, and why it closes. Pure: no clock, no I/O; pump thread
only. Requests share a lane when they ask for the same signature with rows of the same shape. What the line that leads a
batch leaves of it, the others fill.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from predictd_server.serving.batch import DRAIN, FULL, GATHERED, IDLE, SHARED, WINDOW, Batch
from predictd_server.serving.caller_class import CallerClass
from predictd_server.serving.forming import Forming
from predictd_server.serving.ladder import allowed_size, within
from predictd_server.serving.lengths import Shape, shape_bytes
from predictd_server.serving.line import Line
from predictd_server.serving.model_queue import ModelQueue
from predictd_server.serving.pending import Pending
from predictd_server.serving.run_costs import elements
from predictd_server.serving.served import ServedSignature

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

    Attributes:
        lines: Those who wait in it, by class of callers; by None where all are treated alike.
        waiting_rows: Their rows.
        waiting_lines: How many of the lines have requests in them.
        taken_s: When a batch of it last began (monotonic).
        seconds_per_row: Mean time of a row; 0 before the first.
        max_rows: The most that one batch takes; 0 where rows of several requests can't share a run.
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
    ) -> None:
        self.key = key
        self.model = model
        self.signature = signature
        self.shapes = shapes
        self._kind = signature.costs.kind(shapes)
        self._beside_of = (-1, 0, 0.0)
        self._beside_rows = 0
        self._max_batch_bytes = max_batch_bytes
        self._sizes = self.signature.sizes
        if not self.signature.has_string_inputs:
            self._sizes = within(self._sizes, shape_bytes(signature.spec.inputs, shapes), max_batch_bytes)
        most_elements = signature.settings.max_batch_elements
        if most_elements is not None and signature.lengths is not None:
            self._sizes = within(self._sizes, elements(shapes), most_elements)
        self.taken_s = -math.inf
        self.seconds_per_row = 0.0
        self.max_rows = self._sizes[-1] if self._sizes else 0
        self.is_outdated = False
        self.lines: dict[CallerClass | None, Line] = {}
        self.waiting_rows = 0
        self.waiting_lines = 0

    def mean_s(self, size: int) -> float:
        """Return the mean seconds of its runs of a size; infinite where nothing is known."""
        return self.signature.costs.mean_of_kind_s(size, self._kind)

    def rows_within(self, run_s: float) -> int:
        """Return how many rows a batch may have so that it takes no longer than `run_s`, or little longer.

        At least one allowed size; all of them where a smaller one takes hardly less time, or nothing is known.
        """
        costs, kind, most = self.signature.costs, self._kind, self.max_rows
        full_s = costs.mean_of_kind_s(most, kind)
        for size in reversed(self._sizes[:-1]) if full_s < math.inf else ():
            cost_s = costs.mean_of_kind_s(size, kind)
            if cost_s * self.max_rows > MOST_COST * full_s * size:
                break
            most = size
            if cost_s <= run_s:
                break
        return most

    def rows_beside(self, run_s: float) -> int:
        """Return how many rows a batch may have that takes no longer than `run_s`; 0 where none is known to.

        Also where more rows wait than that, and one batch of them all would take much less time for each.
        """
        known = self.signature.costs.version, self.waiting_rows, run_s
        if known != self._beside_of:
            # The pump asks of each lane that waits, several times a turn: of 256 it took tens of milliseconds.
            self._beside_of, self._beside_rows = known, self._find_rows_beside(run_s)
        return self._beside_rows

    def _find_rows_beside(self, run_s: float) -> int:
        costs, kind = self.signature.costs, self._kind
        if costs.surprise_s > run_s:
            return 0
        for size in reversed(self._sizes):
            cost_s = costs.mean_of_kind_s(size, kind)
            if cost_s <= run_s:
                if size == self.max_rows or self.waiting_rows <= size:
                    return size
                full_s = costs.mean_of_kind_s(self.max_rows, kind)
                return size if cost_s * self.max_rows <= MOST_COST * full_s * size else 0
        return 0

    def take_batch(
        self,
        now: float,
        expire: Callable[[float, Pending], None],
        *,
        leader: Line,
        most_rows: int,
        is_draining: bool,
    ) -> Batch | None:
        """Return the next batch; None when no request was left.

        Args:
            now: The time (monotonic).
            expire: Called with the time and a request whose time is up; it must release it.
            leader: Whose requests come first.
            most_rows: At most `max_rows`; fewer where others are to have the engine soon.
            is_draining: Whether the server shuts down.
        """
        forming = Forming(now, expire, most_rows, self._max_batch_bytes if self.signature.has_string_inputs else None)
        leader.give(forming)
        if len(self.lines) > 1 and forming.has_room and self.max_rows:
            for line in sorted(self.lines.values(), key=_rank):
                if line is not leader:
                    line.give(forming)
        parts, rows = forming.parts, forming.rows
        self.waiting_rows -= rows
        if not parts:
            return None
        size = allowed_size(self._sizes, rows) if self._sizes else rows
        if forming.is_full or (rows == most_rows and (len(parts) > 1 or leader.window_s > 0)):
            reason = FULL if most_rows == self.max_rows else SHARED
        elif is_draining:
            reason = DRAIN
        elif leader.window_s:
            reason = WINDOW if rows < self.signature.most_counted_rows else FULL
        else:
            reason = GATHERED if len(parts) > 1 else IDLE
        return Batch(self.signature, parts, rows, size, self.shapes, reason, now)


def _rank(line: Line) -> tuple[float, float]:
    """Lines with higher priorities first, then those whose class has had less of what others left."""
    return -line.level.priority, line.account.ride.virtual_s
