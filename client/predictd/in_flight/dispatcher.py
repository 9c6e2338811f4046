"""The dispatcher: an exchange driven by one background thread, and the futures that it completes.

Owns that thread, its inbox and the pipe that wakes it. It is made at the first `submit` in a process, serves that
process only, and ends when its client is closed or collected and all that was submitted is done; what a program's end
waits for is `exit_wait.py`'s. It is of the kind that threads are when it is made: after gevent's or eventlet's patch a
greenlet, before it one of the system's, which stays that and serves what was submitted until then. No event loop: other
greenlets would seem to run inside it.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from predictd.connections.polling import Poll, current_kind
from predictd.connections.transport import SLICE_MS
from predictd.in_flight.background import NO_THREAD, BackgroundThread, no_thread
from predictd.in_flight.exchange import Exchange
from predictd.in_flight.exit_wait import forget, wait_for
from predictd.in_flight.jobs import Jobs
from predictd.in_flight.places import Places
from predictd.in_flight.prediction_future import PredictionFuture
from predictd.process import Process, this_process
from predictd_proto.errors import DeadlineExceededError, RequestCancelledError, TransportError
from predictd_proto.quantities import seconds_text

if TYPE_CHECKING:
    from predictd.deadline import Clock, Deadline
    from predictd.in_flight.channel import Channel
    from predictd.requests.request_frames import Question
    from predictd.routing.retries import Retries
    from predictd.routing.routes import Routes

Result = TypeVar("Result")

#: Without requests nothing is due; the pipe and the connections wake the thread. A wake-up that is lost all the same
#: costs a slice soon after the last request, when the next is likely, and never more than this.
_IDLE_MS = 2_000.0
_RECENT_S = 2.0

#: The thread of a client that is closed ends as soon as nothing is in flight; this only bounds the wait for it.
_JOIN_S = 5.0


class Dispatcher:
    """One process's thread for one client's futures. Making it opens nothing.

    Args:
        routes: Where to ask.
        retries: How requests are repeated; None for never.
        max_in_flight: How many requests are worked on at once; `submit` waits for its place among them.

    Attributes:
        process: The process it belongs to.
        is_ending: Whether it takes nothing more.
    """

    def __init__(self, routes: Routes, *, retries: Retries | None, max_in_flight: int) -> None:
        self.process: Process = this_process()
        self.is_ending: bool = False
        self._max_in_flight = max_in_flight
        self._exchange = Exchange(routes, self, retries=retries, max_in_flight=max_in_flight)
        self._jobs = Jobs(self._post)
        self._inbox: deque[Callable[[], None]] = deque()
        self._places: Places[PredictionFuture] = Places(max_in_flight)
        # Re-entrant: a signal's handler or a finalizer may come back here on the thread that holds it.
        self._lock = threading.RLock()
        self._thread: BackgroundThread | None = None
        self._ident: int | None = None
        self._is_asleep = False
        self._used_s = 0.0
        self._is_over = False
        self._is_rung = False
        self._pipe: tuple[int, int] | None = None
        self._poll = Poll(kind=current_kind())
        self._get_ident = threading.get_ident  # a patch replaces it, and then knows the thread by another number

    @property
    def is_here(self) -> bool:
        """Whether this is its thread."""
        return self._ident == self._get_ident()

    def submit(self, question: Question, deadline: Deadline) -> PredictionFuture | None:
        """Send a question; return its future, or None where this dispatcher is ending.

        Raises:
            DeadlineExceededError: There was no place until the deadline.
            TransportError: The system has no thread or no pipe to give.
        """
        self._start()
        future = PredictionFuture(self, question, deadline)
        try:
            self._take_place(future)
            if self._post(lambda: self._exchange.add(future.pending)):
                return future
        except BaseException:
            # Too late, or a signal's exception: whether it was posted is unknown, so it is cancelled if it was.
            future.cancel()
            self.leave(future)
            raise
        self.leave(future)
        return None

    def cancel(self, future: PredictionFuture) -> None:
        """Give a future's request up. In another process than its own it is left alone."""
        if self.process is this_process():
            self._post(lambda: self._drop(future))

    def leave(self, future: PredictionFuture) -> None:
        """Give a future's place back; more than once does no harm."""
        self._places.leave(future)

    def end(self) -> None:
        """Take nothing more; the thread ends when all that was submitted is done."""
        self.is_ending = True
        self._wake()

    def close(self) -> None:
        """End, and wait until what was submitted is done: each of the requests is by its deadline."""
        self.end()
        if not self.is_here:
            left_ms = [future.pending.deadline.remaining_ms for future in self._places.holders()]
            self.join(max(left_ms, default=0.0) / 1000 + _JOIN_S)

    def give_up(self, timeout_s: float) -> None:
        """Cancel what was submitted, and wait until the servers have been told, for some seconds at most."""
        for future in self._places.holders():
            future.cancel()
        self.end()
        if not self.is_here:
            self.join(timeout_s)

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread, for some seconds, and return whether it has ended."""
        thread = self._thread
        if thread is None:
            return True
        thread.join(timeout_s)
        return not thread.is_alive()

    @property
    def unfinished(self) -> int:
        """How many of the futures are not done."""
        return len(self._places)

    # What the exchange asks of its driver.

    def watch(self, channel: Channel) -> None:
        """Wake up whenever the channel's descriptor is readable."""
        self._poll.register(channel.connection.fileno())

    def unwatch(self, channel: Channel) -> None:
        """Don't any more."""
        self._poll.unregister(channel.connection.fileno())

    def start(
        self, work: Callable[[Clock], Result], done: Callable[[Result | None, BaseException | None], None]
    ) -> None:
        """Do blocking work on a thread of its own; its result comes in with the post."""
        self._jobs.start(work, done)

    def _take_place(self, future: PredictionFuture) -> None:
        question, deadline = future.pending.question, future.pending.deadline
        if self.is_here:
            # In a future's callback: nobody else could make room, so it waits its turn in the exchange instead.
            self._places.take(future, 0.0)
            return
        if self._places.take(future, deadline.remaining_ms / 1000):
            return
        text = (
            f"model {question.model!r}: time-out after {seconds_text(deadline.waited_ms)}, before there was a place: "
            f"{self._max_in_flight} requests of this client are in flight (max_in_flight)"
        )
        raise DeadlineExceededError(text, {"state": "preparing"})

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            self._open_pipe()
            thread = BackgroundThread(self._run, "predictd-dispatcher")
            wait_for(self)
            try:
                thread.start()
            except BaseException as raised:
                if thread.call_off():
                    forget(self)
                    self._close_pipe()  # the next submit tries again
                else:
                    self._thread = thread
                if isinstance(raised, NO_THREAD):
                    raise no_thread(raised) from raised
                raise
            self._thread = thread

    def _open_pipe(self) -> None:
        try:
            self._pipe = os.pipe()
        except OSError as error:
            text = (
                f"can't make the pipe that wakes the thread behind submit: {error.strerror}. This process has as many "
                "files open as it may: see `ulimit -n`"
            )
            raise TransportError(text) from error
        self._poll.register(self._pipe[0])

    def _close_pipe(self) -> None:
        with self._lock:
            pipe, self._pipe = self._pipe, None
        if pipe is not None:
            self._poll.unregister(pipe[0])
            for descriptor in pipe:
                os.close(descriptor)

    def _post(self, call: Callable[[], None]) -> bool:
        """Have something called on the thread; return False where it ended before."""
        with self._lock:
            if self._is_over:
                return False
            self._inbox.append(call)
        if self._is_asleep:
            self._wake()
        return True

    def _wake(self) -> None:
        with self._lock:
            # Under the lock: the number of a closed pipe may be another file's by now. Never more than one byte is in
            # it, and never is it read without one: eventlet's `os` would wait there, whatever the descriptor says.
            if self._pipe is not None and not self._is_rung:
                self._is_rung = True
                os.write(self._pipe[1], b"\0")
            # Last: a signal's exception before this leaves the ringing to whoever posts next.
            self._is_asleep = False

    def _run(self) -> None:
        self._ident = self._get_ident()
        fault: BaseException | None = None
        try:
            while not self._has_ended():
                self._wait()
                while self._inbox:
                    self._inbox.popleft()()
                self._exchange.turn()
        except BaseException as raised:
            fault = raised
            raise
        finally:
            self._finish(fault)

    def _has_ended(self) -> bool:
        if not self.is_ending or not self._exchange.is_idle:
            return False
        with self._lock:
            self._is_over = not self._inbox
        return self._is_over

    def _wait(self) -> None:
        assert self._pipe is not None, "run before it was started"
        self._is_asleep = True
        # Looked at after the flag was set: who posts now, sees it.
        if not self._inbox:
            self._poll.poll(self._patience_ms())
        self._is_asleep = False
        with self._lock:
            if self._is_rung:
                os.read(self._pipe[0], 1)
                self._is_rung = False

    def _patience_ms(self) -> float:
        next_s = self._exchange.next_turn_s()
        if next_s is None:
            return SLICE_MS if monotonic() - self._used_s < _RECENT_S else _IDLE_MS
        self._used_s = monotonic()
        # At most a slice: an event loop's patched poll may lose a wake-up.
        return min(max(next_s - monotonic(), 0.0) * 1000 + 1, SLICE_MS)

    def _finish(self, fault: BaseException | None) -> None:
        """End what is left (nothing is, but after a fault of ours) and give everything back."""
        self.is_ending = True
        with self._lock:
            self._is_over = True
        self._jobs.cut()
        while self._inbox:
            self._inbox.popleft()()
        error = RequestCancelledError("the thread that had this request in hand ended; its error, the cause, says why")
        error.__cause__ = fault
        self._exchange.close(error)
        self._close_pipe()
        forget(self)

    def _drop(self, future: PredictionFuture) -> None:
        if future.pending.is_done:
            return
        self._exchange.cancel(future.pending)
        self.leave(future)
        future.set_running_or_notify_cancel()
