"""The lanes: every queue there is, and whose turn it is.

Owns which lane a request waits in and the order in which lanes give batches. Pure: no clock, no I/O; pump thread only,
but for the plain numbers that the control thread reads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from predictd_server.batch import Batch
from predictd_server.lane import Lane
from predictd_server.pending import Pending

LaneKey = tuple[object, ...]

#: Empty lanes kept for the next request of their kind: making one takes as long as serving a request from it.
MOST_IDLE_LANES = 64


class Lanes:
    """All lanes, those first whose turn comes first.

    Args:
        window_s: Batch window.
        max_batch_bytes: Bound on a batch's inputs.
    """

    def __init__(self, *, window_s: float, max_batch_bytes: int) -> None:
        self._window_s = window_s
        self._max_batch_bytes = max_batch_bytes
        self._lanes: dict[LaneKey, Lane] = {}

    def __len__(self) -> int:
        return len(self._lanes)

    def add(self, request: Pending) -> None:
        """Queue a request where it may share a batch."""
        signature = request.signature
        key: LaneKey = (signature,)
        if signature.has_free_axes:
            key = (signature, *[tensor.shape[1:] for tensor in request.tensors])
        lane = self._lanes.get(key)
        if lane is None:
            lane = Lane(request, max_batch_bytes=self._max_batch_bytes, window_s=self._window_s)
            self._lanes[key] = lane
        request.lane = lane
        lane.add(request)

    def take_batch(self, now: float, expire: Callable[[float, Pending], None], *, is_draining: bool) -> Batch | None:
        """Return a batch to run now, or None.

        Args:
            now: The time (monotonic).
            expire: Called with the time and a request whose time is up; it must release it.
            is_draining: Whether the server shuts down: then no window holds anything back.
        """
        for key in list(self._lanes):
            lane = self._lanes[key]
            if not lane.queue:
                if lane.is_outdated or len(self._lanes) > MOST_IDLE_LANES:
                    del self._lanes[key]
                continue
            if lane.closes_at() > now and not is_draining:
                continue
            batch = lane.take_batch(now, expire, is_draining=is_draining)
            # To the end of the row: the lanes take turns, so that a busy model never shuts the others out.
            self._lanes[key] = self._lanes.pop(key)
            if batch is not None:
                return batch
        return None

    def next_wakeup(self) -> float | None:
        """Return when `take_batch` may have something though nothing arrives (monotonic); None for never."""
        return min((lane.closes_at() for lane in self._lanes.values() if lane.queue), default=None)

    def outdate(self) -> None:
        """Drop every lane once it is empty: the models have changed, and a lane keeps its own in memory."""
        for lane in self._lanes.values():
            lane.is_outdated = True

    def waiting(self) -> Iterator[Pending]:
        """Yield the requests that wait; they may be released meanwhile."""
        for lane in self._lanes.values():
            for request in list(lane.queue):
                if not request.is_over:
                    yield request

    @property
    def waiting_requests(self) -> int:
        """Requests that wait for a batch, the rest of those that were cut among them. Any thread."""
        return sum(lane.waiting_requests for lane in list(self._lanes.values()))

    def oldest_arrival(self) -> float | None:
        """Return when the request that has waited longest arrived (monotonic); None when none waits. Any thread."""
        arrivals_s: list[float] = []
        for lane in list(self._lanes.values()):
            # The control thread asks while the pump empties lanes: a look before would not help.
            with contextlib.suppress(IndexError):
                arrivals_s.append(lane.queue[0].arrived_s)
        return min(arrivals_s, default=None)
