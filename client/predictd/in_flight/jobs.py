"""Jobs: the blocking work of whoever may not block (connecting, fetching a plan), on short-lived threads.

Owns the threads and their end: each waits by a deadline on its job's clock, and when the work is no longer wanted that
clock jumps to the end of time, so that every such deadline is over at the next look. The threads are daemons, made when
there is something to do; a program's end never waits for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from time import monotonic
from typing import Any, TypeVar

from predictd.deadline import Clock
from predictd.in_flight.background import NO_THREAD, BackgroundThread, is_exit, no_thread

Result = TypeVar("Result")


class Job:
    """One piece of work.

    Attributes:
        thread: The thread that does it.
    """

    __slots__ = ("_is_cut", "thread")

    def __init__(self) -> None:
        self._is_cut = False
        self.thread: BackgroundThread | None = None

    @property
    def is_running(self) -> bool:
        """Whether its thread lives."""
        return self.thread is not None and self.thread.is_alive()

    def cut(self) -> None:
        """Let its time be over: whatever it waits for fails soon."""
        self._is_cut = True

    def clock(self) -> float:
        """Return the time on its clock, in seconds."""
        return math.inf if self._is_cut else monotonic()


class Jobs:
    """Blocking work in progress.

    Args:
        deliver: Calls what it is given on the thread that wants the results, if there is one still.
    """

    def __init__(self, deliver: Callable[[Callable[[], None]], object]) -> None:
        self._deliver = deliver
        self._jobs: set[Job] = set()

    @property
    def are_running(self) -> bool:
        """Whether any thread lives."""
        return any(job.is_running for job in self._jobs)

    def start(
        self, work: Callable[[Clock], Result], done: Callable[[Result | None, BaseException | None], None]
    ) -> Job:
        """Do some work on another thread.

        Args:
            work: Gets the clock for its deadlines; returns the result.
            done: Gets the result, or the error, by way of `deliver`: a TransportError where there is no thread.
        """
        job = Job()
        thread = job.thread = BackgroundThread(lambda: self._run(job, work, done), "predictd-job")
        try:
            thread.start()
        except BaseException as raised:
            if thread.call_off():
                if is_exit(raised):
                    self._run(job, work, done)  # blocking is as good now: what waits for it is all that goes on
                else:
                    error = no_thread(raised)
                    self._deliver(lambda: done(None, error))
            if not isinstance(raised, NO_THREAD):
                raise  # a signal's
        self._jobs = {other for other in self._jobs if other.is_running}
        self._jobs.add(job)
        return job

    def cut(self) -> None:
        """Let the time of all that is in progress be over."""
        for job in tuple(self._jobs):
            job.cut()

    def _run(self, job: Job, work: Callable[[Clock], Any], done: Callable[[Any, BaseException | None], None]) -> None:
        result: Any = None
        error: BaseException | None = None
        try:
            result = work(job.clock)
        except BaseException as raised:  # raised again where the result is wanted
            error = raised
        # Where nobody wants it a result goes here, and a connection closes as it goes.
        self._deliver(lambda: done(result, error))
