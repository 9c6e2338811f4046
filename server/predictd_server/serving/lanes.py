"""The lanes: every queue there is, and whose turn it is.

Owns which lane and line a request waits in and the order in which lines lead batches: the highest priority first;
within one, models share the engine by time and weight, and so do the classes of callers of one model, and their lines.
Pure: no clock, no I/O; pump thread only, but for the plain numbers that the control thread reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from predictd_server.serving.admission import Admission
from predictd_server.serving.batch import Batch, Run
from predictd_server.serving.counters import Counters
from predictd_server.serving.lane import Lane, LaneKey
from predictd_server.serving.levels import Levels
from predictd_server.serving.line import Line
from predictd_server.serving.model_queue import ModelQueue, paced
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
        priority_wait_s: How long requests are passed over by those with a higher priority at most.
    """

    def __init__(
        self,
        *,
        admission: Admission,
        counters: Counters,
        window_s: float,
        max_batch_bytes: int,
        fair_run_s: float,
        priority_wait_s: float = math.inf,
    ) -> None:
        self._admission = admission
        self._counters = counters
        self._window_s = window_s
        self._max_batch_bytes = max_batch_bytes
        self._fair_run_s = fair_run_s
        self._lanes: dict[LaneKey, Lane] = {}
        self._waiting: dict[Line, None] = {}
        self._levels = Levels(priority_wait_s)
        admission.work_s = self.work_s
        self._running: Line | None = None
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
        line = lane.lines.get(request.caller)
        if line is None:
            line = lane.lines[request.caller] = self._new_line(lane, request)
        if not line.whole.requests and not line.large.requests and line not in self._waiting:
            # Who is alone keeps no account: that would make it slower and change nothing.
            if len(self._lanes) > 1 or len(self._admission.models) > 1 or line.part is not None:
                self._enter(line)
            self._waiting[line] = None
            lane.waiting_lines += 1
            line.account.count(1)
        line.add(request)

    def _new_lane(self, key: LaneKey, request: Pending) -> Lane:
        signature = request.signature
        model = self._admission.model(signature)
        shapes = tuple([tensor.shape[1:] for tensor in request.tensors])
        if signature.lengths is not None:
            shapes = signature.lengths.fit(request.tensors).shapes
            if signature.lengths.note(shapes):
                self._counters.unseen_shapes_total += 1
        return Lane(key, signature, shapes, model, max_batch_bytes=self._max_batch_bytes)

    def _new_line(self, lane: Lane, request: Pending) -> Line:
        settings, caller, model = lane.signature.settings, request.caller, lane.model
        window_ms = settings.batch_timeout_ms
        priority = model.priority
        part = None
        if caller is not None:
            part = self._admission.part(model, caller)
            priority += caller.priority
            window_ms = window_ms if caller.batch_timeout_ms is None else caller.batch_timeout_ms
        window_s = self._window_s if window_ms is None else window_ms / 1000
        level = self._levels.level(priority)
        account = of_model = level.account.of(model, model.weight)
        if caller is not None:
            account = of_model.of(caller, caller.weight)
        line = Line(lane, level, part, window_s, of_model=of_model, account=account)
        # It may be alone for now and keep no account; those to come begin where the ones before it had got to.
        account.users.enter(line.share)
        return line

    def _enter(self, line: Line) -> None:
        """Let an empty line take part in sharing; the first of its class, model and priority lets those take part."""
        level, running = line.level, self._running
        is_first = not level.account.waiting_lines
        line.account.enter(line.share)
        if is_first and running is not None and running.level is level:
            # Its run is paid for when it has ended; until then it must not look like one that was left behind.
            self._running_from_s = max(self._running_from_s, level.account.users.now_s)

    def _leave(self, line: Line) -> None:
        """Let a line that became empty go; keep its lane for the next of its kind if there are not too many."""
        lane = line.lane
        del self._waiting[line]
        lane.waiting_lines -= 1
        line.account.count(-1)
        if not lane.waiting_lines and (lane.is_outdated or len(self._lanes) > MOST_IDLE_LANES):
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
            line = self._next(now, beside_s, is_draining=is_draining)
            if line is None:
                break
            lane, model = line.lane, line.lane.model
            if len(self._lanes) > 1:
                line.account.users.choose(line.share)
            if line.part is not None:
                line.of_model.users.choose(line.account.share)
            if len(self._admission.models) > 1:
                line.level.account.users.choose(line.of_model.share)
            most_rows = lane.max_rows if beside_s is None else lane.rows_beside(beside_s)
            # Fewer than allowed where others are to have the engine soon.
            full_s = lane.mean_s(most_rows)
            if full_s > self._fair_run_s and self._is_wanted_by_others(line, now):
                most_rows = min(most_rows, lane.rows_within(self._fair_run_s))
            batch = lane.take_batch(now, expire, leader=line, most_rows=most_rows, is_draining=is_draining)
            if not line.whole.requests and not line.large.requests:
                self._leave(line)
            elif len(self._waiting) > 1:
                # Behind those that have taken as much.
                self._waiting[line] = self._waiting.pop(line)
            if batch is not None:
                if beside_s is None:
                    self._running, self._began_s, self._running_from_s = line, now, line.of_model.share.virtual_s
                model.taken_s = lane.taken_s = now
                return batch
        return None

    def _next(self, now: float, beside_s: float | None, *, is_draining: bool) -> Line | None:
        """Return the line that is to lead a batch: one that may leave, and whose turn it is."""
        if len(self._waiting) == 1 and beside_s is None:
            (only,) = self._waiting
            if only.whole.requests or only.large.requests:
                if not is_draining and only.closes_at() > now:
                    return None
                if len(self._levels) > 1:
                    self._levels.lead(only.level, (only.level,), now)
                return only
        ready: list[Line] = []
        for line in list(self._waiting):
            if not line:
                self._leave(line)
            elif (is_draining or line.closes_at() <= now) and (beside_s is None or self._may_go(line, beside_s, now)):
                ready.append(line)
        if len(self._levels) > 1 and ready:
            ready = self._of_first_level(ready, now, is_beside=beside_s is not None)
        first: Line | None = None
        for line in ready:
            if first is None or _comes_before(line, first):
                first = line
        return first

    def _of_first_level(self, ready: list[Line], now: float, *, is_beside: bool) -> list[Line]:
        levels = {line.level for line in ready}
        if is_beside:
            # What can't go beside was not passed over by what can.
            leader = max(levels, key=lambda level: level.priority)
        else:
            leader = self._levels.first(levels, now)
            self._levels.lead(leader, levels, now)
        return [line for line in ready if line.level is leader]

    def _may_go(self, line: Line, beside_s: float, now: float) -> bool:
        return line.lane.rows_beside(beside_s) > 0 and self._goes_beside_at(line) <= now

    def _goes_beside_at(self, line: Line) -> float:
        """Return when a line's batch may run beside the one that runs: when its model has had no more than that one's.

        One of a higher priority always may: it would have gone first. One of the same model never does, since what a
        runner does with two runs at once is not asked for; nor does one of a lower priority, which would take the
        processor from its betters.
        """
        running, model = self._running, line.lane.model
        if running is None or model is running.lane.model or line.level.priority < running.level.priority:
            return math.inf
        if line.level.priority > running.level.priority:
            return self._began_s
        return self._began_s + (line.of_model.share.virtual_s - self._running_from_s) * running.of_model.share.weight

    def _is_wanted_by_others(self, line: Line, now: float) -> bool:
        """Whether another model or shape of rows wants the engine or soon will, or a higher priority soon will."""
        model, others = line.lane.model, self._admission.models.values()
        if any(other is not model and (other.rows or now - other.taken_s < ACTIVE_S) for other in others):
            return True
        since_s = now - ACTIVE_S
        for lane in self._lanes.values() if len(self._lanes) > 1 else ():
            if lane is not line.lane and lane.model is model and (lane.waiting_lines or lane.taken_s > since_s):
                return True
        return len(self._levels) > 1 and self._levels.is_active_above(line.level, now - ACTIVE_S)

    def finish(self, batch: Batch, runs: Sequence[Run]) -> None:
        """Note that a batch has ended; the line that led it, the classes in it and its model pay for the run."""
        first, seconds = batch.parts[0].request, batch.busy_s
        line = first.line
        assert line is not None
        lane, model = line.lane, line.lane.model
        if self._running is not None and model is self._running.lane.model:
            self._running = None
        for run in runs:
            if run.error is None:
                model.observe(run.rows, run.assemble_s + run.execute_s)
                if lane.signature.lengths is not None:
                    lane.seconds_per_row = paced(lane.seconds_per_row, run.rows, run.assemble_s + run.execute_s)
        if first.caller is not None:
            _charge_classes(line, batch)
        model.ran_s += seconds
        if len(self._admission.models) > 1:
            line.level.account.users.charge(line.of_model.share, seconds)
        if len(self._lanes) > 1:
            line.account.users.charge(line.share, seconds)

    def next_wakeup(self, beside_s: float | None) -> float | None:
        """Return when `take_batch` may have something though nothing arrives (monotonic); None for never."""
        if beside_s is None:
            return min((line.closes_at() for line in self._waiting if line), default=None)
        return min(
            (
                max(line.closes_at(), begins_s)
                for line in self._waiting
                if line and line.lane.rows_beside(beside_s) and (begins_s := self._goes_beside_at(line)) < math.inf
            ),
            default=None,
        )

    def work_s(self, model: ModelQueue) -> float:
        """Return how long the engine will take for what waits for a model: rows of each shape by their own pace."""
        lanes = {line.lane for line in self._waiting if line.lane.model is model}
        return sum(lane.waiting_rows * (lane.seconds_per_row or model.seconds_per_row) for lane in lanes)

    def outdate(self) -> None:
        """Drop every lane once it is empty: the models have changed, and a lane keeps its own in memory."""
        for key, lane in list(self._lanes.items()):
            lane.is_outdated = True
            if not lane.waiting_lines:
                del self._lanes[key]

    def waiting(self) -> Iterator[Pending]:
        """Yield the requests that wait; they may be released meanwhile."""
        for line in list(self._waiting):
            yield from line.waiting()

    @property
    def are_empty(self) -> bool:
        """Whether nothing waits; a lane whose last request was released may count as waiting until the next look."""
        return not self._waiting

    @property
    def waiting_requests(self) -> int:
        """Requests that wait for a batch, the rest of those that were cut among them. Any thread."""
        return sum(line.waiting_requests for line in list(self._waiting))

    def oldest_arrival(self) -> float | None:
        """Return when the request that has waited longest arrived (monotonic); None when none waits. Any thread."""
        return min((oldest.arrived_s for line in list(self._waiting) for oldest in line.oldest()), default=None)


def _comes_before(line: Line, other: Line) -> bool:
    model, other_model = line.lane.model, other.lane.model
    if model is not other_model:
        times_s = line.of_model.share.virtual_s, other.of_model.share.virtual_s
        # One that was alone until now has no account: its run that has just ended is not its neighbour's.
        return model.taken_s < other_model.taken_s if times_s[0] == times_s[1] else times_s[0] < times_s[1]
    if line.account is not other.account:
        return line.account.share.virtual_s < other.account.share.virtual_s
    return line.share.virtual_s < other.share.virtual_s


def _charge_classes(leader: Line, batch: Batch) -> None:
    """Make the classes pay for a run, each for its rows.

    Those of another priority fill what that of the leader has left, which is no turn of theirs: charged for it, they
    would owe their equals for as long as it lasted.
    """
    row_s = batch.busy_s / max(batch.rows, 1)
    rows: dict[Line, int] = {}
    for part in batch.parts:
        line = part.request.line
        if line is not None and line.part is not None:
            rows[line] = rows.get(line, 0) + part.rows
    for line, count in rows.items():
        seconds = count * row_s
        if line.part is not None:
            line.part.ran_s += seconds
        if line.level is leader.level:
            line.account.charge(seconds, batch.busy_s)
        if line is not leader:
            line.account.charge_ride(seconds)
