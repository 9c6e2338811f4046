"""A line: the requests of one class of callers that may share a batch, in order of arrival.

Owns their order, and that requests which a batch cuts don't hold up those that it takes whole. Pure: no clock, no I/O;
pump thread only.

Requests that fit one batch stand in one queue, those that are larger in another, where they take turns. A batch takes
from the first queue first, and from the other what room is left; the next batch begins with the other if it had the
smaller part of that. So a small request waits for no more than one batch of large ones, however many there are, and
once more for each full batch of small ones before it; large ones get as many rows as small ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from predictd_server.serving.fair_shares import Share
from predictd_server.serving.fifo import Fifo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from predictd_server.serving.account import Account
    from predictd_server.serving.class_queue import ClassQueue
    from predictd_server.serving.forming import Forming
    from predictd_server.serving.lane import Lane
    from predictd_server.serving.levels import Level
    from predictd_server.serving.pending import Pending


class Line:
    """Requests of one class.

    Args:
        lane: Whose batches they share.
        level: Their priority.
        part: Their class's part of the model's queue; None where all callers are treated alike.
        window_s: How long the oldest of them may wait for company while the engine is idle.
        of_model: What its model has had of the engine, at this priority.
        account: What its class has had of that; the model's where all callers are treated alike.

    Attributes:
        lane: Likewise.
        level: Likewise.
        part: Likewise.
        window_s: Likewise.
        of_model: Likewise.
        account: Likewise.
        share: Its own part of its class's, for the runs that it leads.
        whole: Those that fit one batch.
        large: Those that don't, or have been cut.
    """

    __slots__ = (
        "_is_large_next",
        "account",
        "lane",
        "large",
        "level",
        "of_model",
        "part",
        "share",
        "whole",
        "window_s",
    )

    def __init__(
        self,
        lane: Lane,
        level: Level,
        part: ClassQueue | None,
        window_s: float,
        *,
        of_model: Account,
        account: Account,
    ) -> None:
        self.lane = lane
        self.level = level
        self.part = part
        self.window_s = window_s
        self.of_model = of_model
        self.account = account
        self.share = Share()
        self.whole = Fifo()
        self.large = Fifo()
        self._is_large_next = False

    def __bool__(self) -> bool:
        return bool(self.whole.requests) or bool(self.large.requests)

    def add(self, request: Pending) -> None:
        """Queue a request."""
        lane = self.lane
        request.line = self
        if 0 < lane.max_rows < request.rows:
            self.large.requests.append(request)
        else:
            self.whole.requests.append(request)
        lane.waiting_rows += request.rows

    def release(self, request: Pending) -> int:
        """Let go of the rows of a request that is over before they ran; return how many there were."""
        left = request.rows - request.next_row
        if left:
            is_large = request.next_row > 0 or 0 < self.lane.max_rows < request.rows
            request.next_row = request.rows
            self.lane.waiting_rows -= left
            if not request.batches:
                request.tensors = ()
                request.reply_place = None
            (self.large if is_large else self.whole).release()
        return left

    def closes_at(self) -> float:
        """Return the instant at which a batch may leave; in the past when it may leave now.

        The line must not be empty.
        """
        lane = self.lane
        # Batches may be larger than anybody has asked for: no reason to wait for so many rows.
        if not self.window_s or lane.waiting_rows >= min(lane.max_rows, lane.signature.most_counted_rows):
            return 0.0
        return min(min(oldest.arrived_s, oldest.queued_s) for oldest in self.oldest()) + self.window_s

    def give(self, forming: Forming) -> None:
        """Let a batch take what it has room for."""
        if not self.large.requests:
            forming.take_whole(self)
            return
        before = forming.rows
        if self._is_large_next or not self.whole.requests:
            self._is_large_next = False
            forming.take_large(self)
            forming.take_whole(self)
            return
        forming.take_whole(self)
        whole_rows = forming.rows - before
        forming.take_large(self)
        self._is_large_next = 2 * whole_rows > forming.rows - before and bool(self.large.requests)

    def oldest(self) -> list[Pending]:
        """Return the first of each queue. Any thread."""
        firsts: list[Pending] = []
        for queue in (self.whole.requests, self.large.requests):
            try:
                firsts.append(queue[0])
            except IndexError:  # the control thread asks while the pump empties lines: a look before would not help
                continue
        return firsts

    def waiting(self) -> Iterator[Pending]:
        """Yield the requests that wait; they may be released meanwhile."""
        for request in (*self.whole.requests, *self.large.requests):
            if not request.is_over:
                yield request

    @property
    def waiting_requests(self) -> int:
        """Requests that wait, the rest of those that were cut among them. Any thread."""
        return self.whole.waiting + self.large.waiting
