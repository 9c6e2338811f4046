"""The exchange: many requests in flight at once over a few connections, for callers that may not block.

Owns the window, the deadlines, the choice of endpoint and the repetitions; each endpoint's connections are a line's. It
has no thread, no event loop and no clock of its own: a driver calls it when a descriptor is readable, an instant has
come or a job is done, always on one thread, and never from within `on_done`. Results go to each request's `on_done`.
"""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

from predictd.deadline import Clock
from predictd.in_flight.alarms import Alarms
from predictd.in_flight.channel import MOST_IN_FLIGHT, Channel
from predictd.in_flight.driver import Driver
from predictd.in_flight.line import Line
from predictd.requests.request_errors import own_error, too_late
from predictd.routing.draws import draw
from predictd.routing.failover import Failover
from predictd.routing.retries import Retries
from predictd_proto.endpoints import Endpoint
from predictd_proto.errors import DeadlineExceededError, PredictdError, RetryableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from predictd.in_flight.pending import Pending
    from predictd.requests.catalogue import Plan
    from predictd.routing.routes import Routes
    from predictd_proto.messages import PredictResponse

#: While answers are awaited every channel is looked at this often, whatever its descriptor says.
LOOK_S = 1.0


class Exchange:
    """Requests under way.

    Args:
        routes: Where to ask.
        driver: What runs it.
        retries: How requests are repeated; None for never.
        max_in_flight: How many requests are worked on at once; those beyond wait their turn, first come first served.
        clock: Returns seconds, never goes back.
        draw: Returns a number from 0 up to 1, for the pauses.
    """

    def __init__(
        self,
        routes: Routes,
        driver: Driver,
        *,
        retries: Retries | None,
        max_in_flight: int,
        clock: Clock = monotonic,
        draw: Callable[[], float] = draw,
    ) -> None:
        self._routes = routes
        self._retries = retries
        self._max_in_flight = max_in_flight
        self._clock = clock
        self._draw = draw
        most_channels = -(-max_in_flight // MOST_IN_FLIGHT)
        self._lines: dict[Endpoint, Line] = {
            link.endpoint: Line(link, self, driver, most_channels=most_channels, clock=clock) for link in routes.links
        }
        self._alarms = Alarms()
        self._waiting: deque[Pending] = deque()
        self._in_flight = 0
        self._unread: list[Channel] = []
        self._pumpable: list[Line] = []
        self._is_settling = False

    @property
    def in_flight(self) -> int:
        """How many requests are worked on: queued, sent, or pausing before they are asked again."""
        return self._in_flight

    @property
    def is_idle(self) -> bool:
        """Whether there is no request."""
        return not self._in_flight and not self._waiting

    # What its driver calls.

    def ask(self, pending: Pending) -> None:
        """Begin a request; its `on_done` may be called before this returns."""
        self.add(pending)
        self._settle()

    def add(self, pending: Pending) -> None:
        """Take a request on; it begins with whatever comes next, `settle` at the latest."""
        pending.alarms = (self._alarms.set(pending.deadline.ends_s, pending),)
        self._waiting.append(pending)

    def cancel(self, pending: Pending) -> None:
        """Give a request up: the server is told, `on_done` is not called. One that is done is left as it is."""
        if pending.is_done:
            return
        self._withdraw(pending)
        self._end(pending)
        self._settle()

    def readable(self, channel: Channel) -> None:
        """Take in what has arrived on a channel."""
        self.look_at(channel)
        self._settle()

    def turn(self) -> None:
        """Do what is due: deadlines, repetitions, a look at the channels."""
        now_s = self._clock()
        for pending in self._alarms.due(now_s):
            if pending.deadline.ends_s <= now_s:
                self._expire(pending)
            else:  # a pause is over
                self._route(pending)
        for line in self._lines.values():
            for channel in line.channels:
                self.look_at(channel)
            self.has_room(line)
        self._settle()

    def next_turn_s(self) -> float | None:
        """Return when to call `turn`, on the exchange's clock; None when there is nothing to wait for."""
        first_s = self._alarms.next_s()
        if first_s is None or not self._in_flight:
            return first_s
        return min(first_s, self._clock() + LOOK_S)

    def settle(self) -> None:
        """Go on after a job's result was taken in, or requests were added."""
        self._settle()

    def close(self, error: PredictdError) -> None:
        """End every request with an error, telling the servers, and close the connections."""
        self._is_settling = True  # nothing goes on from here
        for pending in self._alarms.items():
            self._withdraw(pending)
            self._finish(pending, None, None, own_error(error))
        for line in self._lines.values():
            line.close()

    # What its lines report.

    def answered(self, pending: Pending, answer: PredictResponse, plan: Plan) -> None:
        """A request has its answer."""
        if pending.failover is not None:
            pending.failover.answered(answer.receipt)
        self._finish(pending, answer, plan, None)

    def failed(self, pending: Pending, error: BaseException) -> None:
        """A request has failed at its endpoint: ask elsewhere, again, or give its caller the error."""
        is_final = self._routes.only is not None and (self._retries is None or not isinstance(error, RetryableError))
        if is_final or not isinstance(error, PredictdError):
            self._finish(pending, None, None, error)
            return
        pending.last_error = error
        try:
            pause_ms = self._failover_of(pending).failed(error)
        except PredictdError as final:
            # Without the way it came here: that would hold on to everything that was on it.
            self._finish(pending, None, None, final.with_traceback(None))
            return
        if not pause_ms:
            self._route(pending)
            return
        pending.alarms += (self._alarms.set(self._clock() + pause_ms / 1000, pending),)

    def look_at(self, channel: Channel) -> None:
        """Something was done to a channel: read it before its descriptor is waited for."""
        if not channel.is_to_be_read:
            channel.is_to_be_read = True
            self._unread.append(channel)

    def has_room(self, line: Line) -> None:
        """A line may be able to send more."""
        if line not in self._pumpable:
            self._pumpable.append(line)

    def _settle(self) -> None:
        """Do all that can be done now, one thing after the other, so that nothing nests."""
        if self._is_settling:
            return
        self._is_settling = True
        try:
            while True:
                if self._unread:
                    channel = self._unread.pop()
                    channel.is_to_be_read = False
                    channel.line.read(channel)
                elif self._waiting and self._in_flight < self._max_in_flight:
                    self._admit(self._waiting.popleft())
                elif self._pumpable:
                    self._pumpable.pop().pump()
                else:
                    return
        finally:
            self._is_settling = False

    def _admit(self, pending: Pending) -> None:
        if not pending.is_done:
            pending.is_admitted = True
            self._in_flight += 1
            self._route(pending)

    def _route(self, pending: Pending) -> None:
        link = self._routes.only
        if link is None or pending.failover is not None:
            link = self._failover_of(pending).link()
        pending.link = link
        self._lines[link.endpoint].add(pending)

    def _failover_of(self, pending: Pending) -> Failover:
        if pending.failover is None:
            pending.failover = Failover(self._routes, self._retries, pending.deadline, draw=self._draw)
        return pending.failover

    def _expire(self, pending: Pending) -> None:
        line, was_sent = pending.line, pending.channel is not None
        if pending.answer is not None and line is not None:
            line.answer_anyway(pending)
            return
        if line is None:
            self._finish(pending, None, None, self._no_turn(pending))
            return
        self._withdraw(pending)
        error = pending.last_error
        if was_sent or error is None:
            waited_ms, model = pending.deadline.waited_ms, pending.question.model
            error = too_late(model, line.link.endpoint, waited_ms, was_sent=was_sent)
        # The time is over: whatever it was, it is final now, and its text tells what happened before.
        self.failed(pending, error)

    def _no_turn(self, pending: Pending) -> DeadlineExceededError:
        """Return the error for a request that waited for its turn only."""
        endpoint, waited_ms = self._routes.links[0].endpoint, pending.deadline.waited_ms
        error = too_late(pending.question.model, endpoint, waited_ms, was_sent=False)
        text = f"{error}: {self._in_flight} requests were before it (max_in_flight = {self._max_in_flight})"
        return DeadlineExceededError(text, error.detail)

    def _withdraw(self, pending: Pending) -> None:
        """Take a request away from its channel; queues pass over what is done."""
        if pending.channel is not None and pending.line is not None:
            pending.line.cancel(pending.channel, pending)

    def _finish(
        self, pending: Pending, answer: PredictResponse | None, plan: Plan | None, error: BaseException | None
    ) -> None:
        pending.answer, pending.plan, pending.error = answer, plan, error
        on_done = pending.on_done
        self._end(pending)
        on_done(pending)

    def _end(self, pending: Pending) -> None:
        pending.is_done = True
        if pending.is_admitted:
            pending.is_admitted = False
            self._in_flight -= 1
        if pending.failover is not None:
            pending.failover.ended()
        for alarm in pending.alarms:
            self._alarms.drop(alarm)
        pending.alarms = ()
        # Nothing that is still held by whoever waits shall hold on to them, or to large arrays.
        pending.on_done = _nobody
        pending.question.inputs = None


def _nobody(pending: Pending) -> None:
    """Where the result of a request goes that is over."""
