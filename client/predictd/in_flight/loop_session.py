"""The loop session: an exchange driven by one asyncio event loop, and what its coroutines wait for.

Owns the readers, the timer and the jobs that it adds to the loop, and that all of them go with it. The loop's thread. A
connection's descriptor only says "look again", so the exchange reads until there is nothing more, after every wake-up
and after everything it sends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from predictd.in_flight.exchange import Exchange
from predictd.in_flight.jobs import Jobs
from predictd.in_flight.pending import Pending
from predictd.prediction import Prediction, prediction_of
from predictd.process import Process, this_process
from predictd_proto.errors import ConfigError, RequestCancelledError

if TYPE_CHECKING:
    from predictd.deadline import Clock, Deadline
    from predictd.in_flight.channel import Channel
    from predictd.requests.request_frames import Question
    from predictd.routing.retries import Retries
    from predictd.routing.routes import Routes

Result = TypeVar("Result")

#: Between looks at whether the threads of cut jobs have ended, and for how long that is waited for: they wait in
#: slices, but for a pause between two tries.
_JOIN_PAUSE_S = 0.01
_JOIN_S = 5.0

_CLOSED = "the client was closed before the answer came"
_CLOSED_BEFORE = (
    "the client was closed before this was asked: close it when all answers of its maps were taken; a new call or map "
    "opens new connections"
)


class LoopSession:
    """A client's requests on one loop.

    Args:
        loop: The loop, running.
        routes: Where to ask.
        retries: How requests are repeated; None for never.
        max_in_flight: How many requests are worked on at once.

    Attributes:
        loop: Likewise.
        process: The process it belongs to.
        is_closed: Whether it was closed.

    Raises:
        ConfigError: The loop can't watch descriptors.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, routes: Routes, *, retries: Retries | None, max_in_flight: int
    ) -> None:
        if getattr(type(loop), "add_reader", None) is asyncio.AbstractEventLoop.add_reader:
            text = (
                f"{type(loop).__name__} can't watch file descriptors (add_reader), which AsyncClient needs; "
                "use asyncio.SelectorEventLoop, or predictd.Client in threads (asyncio.to_thread)"
            )
            raise ConfigError(text)
        self.loop = loop
        self.process: Process = this_process()
        self.is_closed: bool = False
        self._exchange = Exchange(routes, self, retries=retries, max_in_flight=max_in_flight)
        self._jobs = Jobs(self._deliver)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0
        self._is_to_settle = False

    def begin(self, question: Question, deadline: Deadline) -> Flight:
        """Send a question; nothing is awaited.

        Raises:
            RequestCancelledError: The session is closed: whoever kept it, a map, ends with it.
        """
        if self.is_closed:
            raise RequestCancelledError(_CLOSED_BEFORE)
        flight = Flight(self, question, deadline)
        if self._exchange.is_idle:
            try:
                self._exchange.ask(flight.pending)
            except BaseException:
                self.cancel(flight.pending)  # nobody will wait for it
                raise
            finally:
                self._set_timer()
            return flight
        # Where answers came for several coroutines, each of them asks again in this turn of the loop: what is sent
        # together wakes libzmq's thread once and is followed by one look at what has arrived.
        self._exchange.add(flight.pending)
        if not self._is_to_settle:
            self._is_to_settle = True
            self.loop.call_soon(self._settle)
        return flight

    def cancel(self, pending: Pending) -> None:
        """Give a question up. In another process than its own it is left alone: it isn't ours there."""
        if not pending.is_done and self.process is this_process():
            self._exchange.cancel(pending)

    async def run(self, work: Callable[[Clock], Result]) -> Result:
        """Do some blocking work on a thread of its own.

        Args:
            work: Gets the clock for its deadlines.
        """
        future: asyncio.Future[tuple[Result | None, BaseException | None]] = self.loop.create_future()

        def done(result: Result | None, error: BaseException | None) -> None:
            if not future.done():
                future.set_result((result, error))

        job = self._jobs.start(work, done)
        try:
            result, error = await future
        except BaseException:
            job.cut()
            raise
        if error is not None:
            if self.is_closed:
                # Its time was cut short: what it says of that is nothing to its caller.
                raise RequestCancelledError(_CLOSED) from error
            raise error
        return result  # type: ignore[return-value]

    async def close(self) -> None:
        """End every question, telling the servers, and wait until nothing is left."""
        self.discard()
        end_s = monotonic() + _JOIN_S
        while self._jobs.are_running and monotonic() < end_s:
            await asyncio.sleep(_JOIN_PAUSE_S)

    def discard(self) -> None:
        """End every question and close the connections, without waiting for what ends by itself."""
        if self.is_closed:
            return
        self.is_closed = True
        self._jobs.cut()
        if self._timer is not None:
            self._timer.cancel()
        self._exchange.close(RequestCancelledError(_CLOSED))

    # What the exchange asks of its driver.

    def watch(self, channel: Channel) -> None:
        """Read the channel whenever its descriptor is readable."""
        self.loop.add_reader(channel.connection.fileno(), self._readable, channel)

    def unwatch(self, channel: Channel) -> None:
        """Don't any more."""
        if not self.loop.is_closed():
            self.loop.remove_reader(channel.connection.fileno())

    def start(
        self, work: Callable[[Clock], Result], done: Callable[[Result | None, BaseException | None], None]
    ) -> None:
        """Do blocking work on a thread, then go on with its result."""

        def go_on(result: Result | None, error: BaseException | None) -> None:
            try:
                done(result, error)
                self._exchange.settle()
            finally:
                self._set_timer()

        self._jobs.start(work, go_on)

    def _deliver(self, call: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody wants it any more
            self.loop.call_soon_threadsafe(call)

    # Whatever is raised on the way, the next turn comes: deadlines hang on it.

    def _readable(self, channel: Channel) -> None:
        try:
            self._exchange.readable(channel)
        finally:
            self._set_timer()

    def _settle(self) -> None:
        self._is_to_settle = False
        try:
            self._exchange.settle()
        finally:
            self._set_timer()

    def _turn(self) -> None:
        self._timer = None
        try:
            self._exchange.turn()
        finally:
            self._set_timer()

    def _set_timer(self) -> None:
        """Make sure that the loop turns in time; a timer that is early does no harm and is kept."""
        next_s = self._exchange.next_turn_s()
        if next_s is None or self.is_closed:
            return
        if self._timer is not None:
            if self._timer_s <= next_s:
                return
            self._timer.cancel()
        self._timer_s = next_s
        self._timer = self.loop.call_later(max(next_s - monotonic(), 0.0), self._turn)


class Flight:
    """One question on its way, and who waits for it.

    Args:
        session: Where.
        question: What.
        deadline: Until when.

    Attributes:
        pending: The request.
        landed: Done when there is an answer or an error.
    """

    __slots__ = ("_session", "landed", "pending")

    def __init__(self, session: LoopSession, question: Question, deadline: Deadline) -> None:
        self._session = session
        self.landed: asyncio.Future[None] = session.loop.create_future()
        self.pending: Pending = Pending(question, deadline, self._land)

    async def prediction(self) -> Prediction:
        """Wait for the answer; whatever ends the wait ends the question.

        Raises:
            PredictdError: There is none, or it is an error.
        """
        pending = self.pending
        try:
            await self.landed
        except BaseException:
            self._session.cancel(pending)
            raise
        answer, plan, error = pending.answer, pending.plan, pending.error
        pending.answer = pending.error = None
        try:
            if error is not None:
                raise error
            assert answer is not None, "landed without an answer"
            assert plan is not None, "landed without a plan"
            return prediction_of(answer, plan)
        finally:
            del error  # its traceback holds this frame

    def give_up(self) -> None:
        """End the question; more than once does no harm."""
        self._session.cancel(self.pending)

    def _land(self, pending: Pending) -> None:
        if not self.landed.done() and not self._session.loop.is_closed():
            self.landed.set_result(None)
