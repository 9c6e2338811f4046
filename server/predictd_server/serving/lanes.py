"""The lanes: every queue there is, and whose turn it is.

Owns which lane a request waits in and the order in which lanes give batches: models share the engine by time and
weight, and so do the lanes of one model. Pure: no clock, no I/O; pump thread only, but for the plain numbers that the
control thread reads.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator

from predictd_server.serving.admission import Admission
from predictd_server.serving.batch import Batch
from predictd_server.serving.counters import Counters
from predictd_server.serving.fair_shares import FairShares
from predictd_server.serving.lane import Lane, LaneKey
from predictd_server.serving.model_queue import ModelQueue
from predictd_server.serving.pending import Pending

#: Empty lanes kept for the next request of their kind: making one takes as long as serving a request from it.
MOST_IDLE_LANES = 64

#: A model that ran within so many seconds counts as one that others must make room for: its callers send their next
#: requests when they have their answers, and would find the engine taken for the whole of a long batch each time.
ACTIVE_S = 1.0


class Lanes:
    """All lanes.

    Args:
        admission: Knows the models' parts of the queue.
        counters: Where shapes that nobody prepared for are counted.
        window_s: Batch window of models that set none.
        max_batch_bytes: Bound on a batch's inputs.
        fair_run_s: While other models want the engine, a batch takes about this long at most, where that costs its
            model little.
    """

    def __init__(
        self,
        *,
        admission: Admission,
        counters: Counters,
        window_s: float,
        max_batch_bytes: int,
        fair_run_s: float,
    ) -> None:
        self._admission = admission
        self._counters = counters
        self._window_s = window_s
        self._max_batch_bytes = max_batch_bytes
        self._fair_run_s = fair_run_s
        self._lanes: dict[LaneKey, Lane] = {}
        self._waiting: dict[Lane, None] = {}
        self._models = FairShares()
        self._running: ModelQueue | None = None
        self._began_s = 0.0
        self._running_from_s = 0.0

    def __len__(self) -> int:
        return len(self._lanes)

    def add(self, request: Pending) -> None:
        """Queue a request where it may share a batch."""
        signature = request.signature
        key: LaneKey = (signature,)
        if signature.lengths is not None:
            fit = signature.lengths.fit(request.tensors)
            request.cuts = fit.cuts
            key = (signature, fit.shapes)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = self._new_lane(key, request)
        request.lane = lane
        if not lane.queue and lane not in self._waiting:
            # Who is alone keeps no account: that would make it slower and change nothing.
            if len(self._lanes) > 1 or len(self._admission.models) > 1:
                self._enter(lane)
            self._waiting[lane] = None
            lane.model.waiting_lanes += 1
        lane.add(request)

    def _new_lane(self, key: LaneKey, request: Pending) -> Lane:
        signature = request.signature
        settings = signature.settings
        window_s = self._window_s if settings.batch_timeout_ms is None else settings.batch_timeout_ms / 1000
        model = self._admission.model(signature)
        shapes = tuple([tensor.shape[1:] for tensor in request.tensors])
        if signature.lengths is not None:
            shapes = signature.lengths.fit(request.tensors).shapes
            if signature.lengths.note(shapes):
                self._counters.unseen_shapes_total += 1
        lane = Lane(key, signature, shapes, model, max_batch_bytes=self._max_batch_bytes, window_s=window_s)
        # It may be alone for now and keep no account; those to come begin where the ones before it had got to.
        model.lanes.enter(lane.share)
        return lane

    def _enter(self, lane: Lane) -> None:
        """Let an empty lane take part in sharing; the first of its model lets the model take part."""
        model = lane.model
        if not model.waiting_lanes:
            if not self._waiting:
                self._models.forgive()
                # Its run is paid for when it has ended; until then it must not look like one that was left behind.
                self._running_from_s = max(self._running_from_s, self._models.now_s)
            self._models.enter(model.share)
        if not model.waiting_lanes:
            model.lanes.forgive()
        model.lanes.enter(lane.share)

    def _leave(self, lane: Lane) -> None:
        """Let a lane that became empty go; keep it for the next request of its kind if there are not too many."""
        del self._waiting[lane]
        lane.model.waiting_lanes -= 1
        if lane.is_outdated or len(self._lanes) > MOST_IDLE_LANES:
            del self._lanes[lane.key]

    def take_batch(
        self,
        now: float,
        expire: Callable[[float, Pending], None],
        *,
        is_draining: bool,
        beside_s: float | None = None,
    ) -> Batch | None:
        """Return a batch to run now, or None.

        Args:
            now: The time (monotonic).
            expire: Called with the time and a request whose time is up; it must release it.
            is_draining: Whether the server shuts down: then no window holds anything back.
            beside_s: None while nothing runs. Else another batch runs, and this one is to run beside it, for so many
                seconds at most.
        """
        while self._waiting:
            lane = self._next(now, beside_s, is_draining=is_draining)
            if lane is None:
                break
            model = lane.model
            if beside_s is None:
                self._running, self._began_s, self._running_from_s = model, now, model.share.virtual_s
            if len(self._lanes) > 1:
                model.lanes.choose(lane.share)
            if len(self._admission.models) > 1:
                self._models.choose(model.share)
            most_rows = self._most_rows(lane, now) if beside_s is None else lane.rows_beside(beside_s)
            batch = lane.take_batch(now, expire, most_rows=most_rows, is_draining=is_draining)
            if not lane.queue:
                self._leave(lane)
            elif len(self._waiting) > 1:
                # Behind those that have taken as much.
                self._waiting[lane] = self._waiting.pop(lane)
            if batch is not None:
                model.taken_s = now
                return batch
        return None

    def _next(self, now: float, beside_s: float | None, *, is_draining: bool) -> Lane | None:
        """Return the lane whose batch may leave and whose turn it is."""
        if len(self._waiting) == 1 and beside_s is None:
            (only,) = self._waiting
            if only.queue:
                return only if is_draining or only.closes_at() <= now else None
        first: Lane | None = None
        for lane in list(self._waiting):
            if not lane.queue:
                self._leave(lane)
            elif (
                (is_draining or lane.closes_at() <= now)
                and (first is None or _comes_before(lane, first))
                and (beside_s is None or (lane.rows_beside(beside_s) and self._goes_beside_at(lane) <= now))
            ):
                first = lane
        return first

    def _goes_beside_at(self, lane: Lane) -> float:
        """Return when a lane's batch may run beside the one that runs: when its model has had no more than that one's.

        Its own model's never does: what a runner does with two runs at once is not asked for.
        """
        running, model = self._running, lane.model
        if running is None or model is running:
            return math.inf
        return self._began_s + (model.share.virtual_s - self._running_from_s) * running.share.weight

    def _most_rows(self, lane: Lane, now: float) -> int:
        """Return how many rows its batch may have: fewer than allowed where others are to have the engine soon."""
        most_rows = lane.max_rows
        full_s = lane.signature.costs_s.get(most_rows, 0.0)
        if full_s > self._fair_run_s and self._is_wanted_by_others(lane.model, now):
            most_rows = lane.rows_within(self._fair_run_s)
        return most_rows

    def _is_wanted_by_others(self, model: ModelQueue, now: float) -> bool:
        others = self._admission.models.values()
        return any(other is not model and (other.rows or now - other.taken_s < ACTIVE_S) for other in others)

    def finish(self, lane: Lane, seconds: float) -> None:
        """Note that a lane's batch has ended; it and its model pay for the run."""
        model = lane.model
        if model is self._running:
            self._running = None
        model.ran_s += seconds
        if len(self._admission.models) > 1:
            self._models.charge(model.share, seconds)
        if len(self._lanes) > 1:
            model.lanes.charge(lane.share, seconds)

    def next_wakeup(self, beside_s: float | None) -> float | None:
        """Return when `take_batch` may have something though nothing arrives (monotonic); None for never."""
        if beside_s is None:
            return min((lane.closes_at() for lane in self._waiting if lane.queue), default=None)
        return min(
            (
                max(lane.closes_at(), begins_s)
                for lane in self._waiting
                if lane.queue and lane.rows_beside(beside_s) and (begins_s := self._goes_beside_at(lane)) < math.inf
            ),
            default=None,
        )

    def outdate(self) -> None:
        """Drop every lane once it is empty: the models have changed, and a lane keeps its own in memory."""
        for key, lane in list(self._lanes.items()):
            lane.is_outdated = True
            if lane not in self._waiting:
                del self._lanes[key]

    def waiting(self) -> Iterator[Pending]:
        """Yield the requests that wait; they may be released meanwhile."""
        for lane in list(self._waiting):
            for request in list(lane.queue):
                if not request.is_over:
                    yield request

    @property
    def are_empty(self) -> bool:
        """Whether nothing waits; a lane whose last request was released may count as waiting until the next look."""
        return not self._waiting

    @property
    def waiting_requests(self) -> int:
        """Requests that wait for a batch, the rest of those that were cut among them. Any thread."""
        return sum(lane.waiting_requests for lane in list(self._waiting))

    def oldest_arrival(self) -> float | None:
        """Return when the request that has waited longest arrived (monotonic); None when none waits. Any thread."""
        arrivals_s: list[float] = []
        for lane in list(self._waiting):
            # The control thread asks while the pump empties lanes: a look before would not help.
            with contextlib.suppress(IndexError):
                arrivals_s.append(lane.queue[0].arrived_s)
        return min(arrivals_s, default=None)


def _comes_before(lane: Lane, other: Lane) -> bool:
    model, other_model = lane.model, other.model
    if model is not other_model:
        times_s = model.share.virtual_s, other_model.share.virtual_s
        # One that was alone until now has no account: its run that has just ended is not its neighbour's.
        return model.taken_s < other_model.taken_s if times_s[0] == times_s[1] else times_s[0] < times_s[1]
    return lane.share.virtual_s < other.share.virtual_s
