"""A line: the requests of an exchange that go to one endpoint, and the channels that carry them.

Owns the order of things for one endpoint: a channel with room, the plan, the frames, sending, reading, and what a lost
connection means for the requests on it. What becomes of a request that failed is the exchange's. It never waits:
connecting and fetching a plan are jobs. The thread that runs its exchange.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from predictd.connections.transport import Connection, ConnectionLost
from predictd.deadline import Clock, Deadline
from predictd.in_flight.channel import Channel
from predictd.in_flight.driver import Driver
from predictd.in_flight.fetches import Fetches
from predictd.in_flight.outcomes import Outcomes
from predictd.requests.catalogue import Plan
from predictd.requests.request_errors import lost, own_error, too_late
from predictd.requests.request_frames import answer_of, request_frames
from predictd.requests.stale_plans import MOST_REMAKES, asks_alike, ever_another, is_sure
from predictd_proto.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    PredictdError,
    RemoteProtocolError,
    SegmentRefusedError,
    ServerUnavailableError,
    TensorMismatchError,
)
from predictd_proto.messages import ErrorResponse, PredictResponse

if TYPE_CHECKING:
    from predictd.in_flight.pending import Pending
    from predictd.requests.link import Link

#: After a further connection could not be had, while others work.
_RECONNECT_S = 1.0

#: Connecting gets a little less than the time of those who wait for it, so that its error comes before their deadline.
_MOST_MARGIN_MS = 100.0


class Line:
    """The way to one endpoint.

    Args:
        link: The endpoint.
        outcomes: Where to report.
        driver: What runs it.
        most_channels: How many connections it may hold.
        clock: Returns seconds, never goes back.

    Attributes:
        link: Likewise.
        channels: The connections.
    """

    def __init__(self, link: Link, outcomes: Outcomes, driver: Driver, *, most_channels: int, clock: Clock) -> None:
        self.link = link
        self.channels: list[Channel] = []
        self._outcomes = outcomes
        self._driver = driver
        self._most_channels = most_channels
        self._clock = clock
        self._queue: deque[Pending] = deque()
        self._fetches = Fetches(link, driver, self._planned)
        self._is_connecting = False
        self._reconnect_s = 0.0
        self._is_closed = False

    def add(self, pending: Pending) -> None:
        """Take a request on; `pump` sends it."""
        pending.line = self
        pending.is_plan_fresh = False
        self._queue.append(pending)
        self._outcomes.has_room(self)

    def pump(self) -> None:
        """Send what waits, as far as there is room."""
        queue = self._queue
        while queue:
            if queue[0].is_done:
                queue.popleft()
                continue
            channel = next((channel for channel in self.channels if channel.has_room), None)
            if channel is None:
                self._connect()
                return
            self._send(channel, queue.popleft())

    def read(self, channel: Channel) -> None:
        """Take in all that has arrived on a channel."""
        while channel.is_open:
            try:
                frames = channel.connection.receive_ready()
            except ConnectionLost:
                self._lose(channel)
                return
            if frames is None:
                if channel.is_worn and not channel.waiting:
                    self._drop(channel)
                return
            try:
                answer = answer_of(frames, channel.connection.address, channel.connection.segments)
            except PredictdError as error:
                self._distrust(channel, error)
                return
            self._take(channel, answer)

    def cancel(self, channel: Channel, pending: Pending) -> None:
        """Give up a request that was sent."""
        channel.cancel(pending)
        # What was sent took the edge of an answer's arrival away.
        self._outcomes.look_at(channel)
        self._outcomes.has_room(self)

    def answer_anyway(self, pending: Pending) -> None:
        """Return an answer that is here, though the plan that reads it best is not; where the time is up."""
        plan, answer = pending.plan, pending.answer
        if plan is not None and answer is not None and is_sure(plan):
            self._answer(pending, answer, plan)
            return
        pending.answer = None
        waited_ms = pending.deadline.waited_ms
        self._outcomes.failed(pending, too_late(pending.question.model, self.link.endpoint, waited_ms, was_sent=True))

    def close(self) -> None:
        """Close the connections; the requests are over already, or their exchange ends them."""
        self._is_closed = True
        self._queue.clear()
        self._fetches.clear()
        for channel in list(self.channels):
            self._drop(channel)

    def _send(self, channel: Channel, pending: Pending) -> None:
        question, greeting = pending.question, channel.connection.greeting
        key = (question.model, question.version, question.signature)
        plan = self.link.known(greeting.server_id, key)
        remaining_ms = pending.deadline.remaining_ms
        if remaining_ms <= 0:
            waited_ms = pending.deadline.waited_ms
            self._outcomes.failed(pending, too_late(question.model, self.link.endpoint, waited_ms, was_sent=False))
            return
        if plan is None or self._fetches.has(greeting.server_id, key):
            self._fetches.add(greeting.server_id, key, pending)
            return
        try:
            segments = channel.connection.segments
            frames = request_frames(plan, question, greeting.limits, channel.next_id, remaining_ms, segments)
        except TensorMismatchError as error:
            if pending.is_plan_fresh:
                self._outcomes.failed(pending, error)
                return
            # What is remembered may be an older version than the one served now: look again before refusing.
            self.link.forget(question.model)
            self._fetches.add(greeting.server_id, key, pending)
            return
        except Exception as error:  # what the caller's own array raises is the caller's
            self._outcomes.failed(pending, error)
            return
        pending.plan = plan
        try:
            channel.send(pending, frames)
        except ConnectionLost:
            self._lose(channel)
            self._not_sent(pending)
            return
        except BaseException:
            # A signal's exception, perhaps in the middle of the message: nothing can follow it.
            self._lose(channel)
            self._not_sent(pending)
            raise
        pending.was_unlucky = False
        self._outcomes.look_at(channel)

    def _not_sent(self, pending: Pending) -> None:
        """The connection has been idle since its server went: no loss of this request, unless it happens again."""
        if pending.was_unlucky:
            error = lost(pending.question.model, self.link.endpoint, pending.deadline.waited_ms, was_sent=False)
            self._outcomes.failed(pending, error)
            return
        pending.was_unlucky = True
        self._queue.appendleft(pending)
        self._outcomes.has_room(self)

    def _take(self, channel: Channel, answer: PredictResponse | ErrorResponse) -> None:
        if answer.id is None:
            # About a message that the server couldn't read, and it can't say which.
            assert isinstance(answer, ErrorResponse)
            self._distrust(channel, answer.error())
            return
        pending = channel.take(answer.id)
        if pending is None:
            return
        self._outcomes.has_room(self)
        if isinstance(answer, ErrorResponse):
            self._refused(pending, answer.error())
            return
        plan = pending.plan
        assert plan is not None, "an answer to a request without a plan"
        if plan.reads(answer, pending.question.rows, pending.question.shapes):
            self._outcomes.answered(pending, answer, plan)
            return
        version = answer.receipt.version
        if version == plan.metadata.version:
            self._answer(pending, answer, plan)
            return
        # Another version than the one remembered may have given it: that one's plan reads it.
        server_id = channel.connection.greeting.server_id
        key = (pending.question.model, version, pending.question.signature)
        pending.answer = answer
        known = self.link.known(server_id, key)
        if known is None:
            self._fetches.add(server_id, key, pending)
        else:
            self._answer_by(server_id, pending, known)

    def _refused(self, pending: Pending, error: PredictdError) -> None:
        if isinstance(error, InvalidRequestError):
            self.link.forget(pending.question.model)
            if isinstance(error, TensorMismatchError) and not pending.is_plan_fresh and pending.remakes < MOST_REMAKES:
                # Its plan was remembered, and may be of a version that is served no longer.
                self._make_anew(pending)
                return
        if isinstance(error, SegmentRefusedError) and pending.remakes < MOST_REMAKES:
            self._make_anew(pending)  # in frames
            return
        self._outcomes.failed(pending, error)

    def _answer_by(self, server_id: str, pending: Pending, plan: Plan | None) -> None:
        """Read an answer by the plan of its own version, where that could be had."""
        answer, remembered, question = pending.answer, pending.plan, pending.question
        assert answer is not None, "no answer to read"
        assert remembered is not None, "an answer to a request without a plan"
        pending.answer = None
        if plan is not None:
            self.link.remember(server_id, (question.model, question.version, question.signature), plan)
        elif not is_sure(remembered):
            self.link.forget(question.model)
        is_right = is_sure(remembered) if plan is None else asks_alike(remembered, plan)
        if is_right:
            # Without it only its nesting is uncertain, and most versions agree on that.
            self._answer(pending, answer, plan or remembered)
        elif pending.remakes >= MOST_REMAKES:
            self._outcomes.failed(pending, ever_another(remembered, answer.receipt.version))
        else:
            self._make_anew(pending)

    def _make_anew(self, pending: Pending) -> None:
        """Send a request again, made by what is remembered now, or else fetched for it."""
        pending.remakes += 1
        self._queue.appendleft(pending)
        self._outcomes.has_room(self)

    def _answer(self, pending: Pending, answer: PredictResponse, plan: Plan) -> None:
        try:
            plan.check(answer, pending.question.rows)
        except RemoteProtocolError as error:
            self._outcomes.failed(pending, error.with_traceback(None))
        else:
            self._outcomes.answered(pending, answer, plan)

    def _planned(self, server_id: str, waiting: list[Pending], plan: Plan | None, error: BaseException | None) -> None:
        """Go on with requests that waited for a plan."""
        to_send: list[Pending] = []
        for pending in waiting:
            if pending.answer is not None:
                self._answer_by(server_id, pending, plan)
            elif plan is not None:
                pending.is_plan_fresh = True
                to_send.append(pending)
            else:
                self._outcomes.failed(pending, own_error(error))
        self._queue.extendleft(reversed(to_send))
        self._outcomes.has_room(self)

    def _connect(self) -> None:
        if self._is_connecting or self._is_closed:
            return
        # Worn ones don't count: if the server is stopped, the next handshake tells.
        if sum(not channel.is_worn for channel in self.channels) >= self._most_channels:
            return
        if self.channels and self._clock() < self._reconnect_s:
            return
        first = self._queue[0]
        link, model = first.link or self.link, first.question.model
        latest = max((pending.deadline for pending in self._queue if not pending.is_done), key=lambda d: d.ends_s)
        remaining_ms = latest.remaining_ms
        is_short = remaining_ms < link.connect_timeout_ms
        timeout_ms = max(remaining_ms - min(remaining_ms * 0.1, _MOST_MARGIN_MS), 1.0)

        def connect(clock: Clock) -> Connection:
            return link.connect(link.pool, Deadline(timeout_ms, clock), model)

        until_s = latest.ends_s if is_short else None
        self._is_connecting = True
        self._driver.start(connect, lambda connection, error: self._connected(connection, error, until_s))

    def _connected(self, connection: Connection | None, error: BaseException | None, until_s: float | None) -> None:
        self._is_connecting = False
        if self._is_closed:
            if connection is not None:
                connection.close()
            return
        if connection is not None:
            channel = Channel(connection, self)
            self.channels.append(channel)
            self._driver.watch(channel)
            self._outcomes.look_at(channel)
        elif self.channels:
            self._reconnect_s = self._clock() + _RECONNECT_S
        else:
            self._fail_queue(error, until_s)
        self._outcomes.has_room(self)

    def _fail_queue(self, error: BaseException | None, until_s: float | None) -> None:
        """Nobody answers. Where the attempt was short because time was short, those with more time try again."""
        queue, self._queue = self._queue, deque()
        is_about_time = isinstance(error, (DeadlineExceededError, ServerUnavailableError))
        for pending in queue:
            if is_about_time and until_s is not None and pending.deadline.ends_s > until_s:
                self._queue.append(pending)
            elif not pending.is_done:
                self._outcomes.failed(pending, own_error(error))

    def _lose(self, channel: Channel) -> None:
        left = self._drop(channel)
        # The others' end shows a moment later: a request that is sent again must not be lost to the same server twice.
        for other in self.channels:
            if other.connection.greeting.server_id == channel.connection.greeting.server_id:
                other.retire()
                self._outcomes.look_at(other)
        for pending in left:
            error = lost(pending.question.model, self.link.endpoint, pending.deadline.waited_ms, was_sent=True)
            self._outcomes.failed(pending, error)

    def _distrust(self, channel: Channel, error: PredictdError) -> None:
        """What came can't be read or matched: whatever is on this connection may be concerned."""
        for pending in self._drop(channel):
            self._outcomes.failed(pending, own_error(error))

    def _drop(self, channel: Channel) -> list[Pending]:
        if not channel.is_open:
            return []
        self.channels.remove(channel)
        self._driver.unwatch(channel)
        self._outcomes.has_room(self)
        return channel.end()
