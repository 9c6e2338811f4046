"""Jobs: the blocking work of whoever may not block (connecting, fetching a plan), on short-lived threads.

Owns the threads and their end: each waits by a deadline on this module's clock, and when the work is no longer wanted
the clock jumps to the end of time, so that every such deadline is over at the next look. The threads are daemons, made
when there is something to do; a program's end never waits for them.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from time import monotonic
from typing import TypeVar

from predictd.deadline import Clock

Result = TypeVar("Result")


class Jobs:
    """Blocking work in progress.

    Args:
        deliver: Calls what it is given on the thread that wants the results; returns False when there is none any more.
    """

    def __init__(self, deliver: Callable[[Callable[[], None]], bool]) -> None:
        self._deliver = deliver
        self._is_cut = False
        self._threads: set[threading.Thread] = set()

    @property
    def threads(self) -> tuple[threading.Thread, ...]:
        """The threads whose work is not done."""
        return tuple(self._threads)

    def start(
        self, work: Callable[[Clock], Result], done: Callable[[Result | None, BaseException | None], None]
    ) -> None:
        """Do some work on another thread.

        Args:
            work: Gets the clock for its deadlines; returns the result.
            done: Gets the result, or the error, by way of `deliver`.
        """
        thread = threading.Thread(target=self._run, args=(work, done), name="predictd-job", daemon=True)
        self._threads.add(thread)
        try:
            thread.start()
        except BaseException:
            self._threads.discard(thread)
            raise

    def cut(self) -> None:
        """Make every deadline of the work in progress be over."""
        self._is_cut = True

    def _run(
        self, work: Callable[[Clock], Result], done: Callable[[Result | None, BaseException | None], None]
    ) -> None:
        result: Result | None = None
        error: BaseException | None = None
        try:
            result = work(self._clock)
        except BaseException as raised:  # raised again where the result is wanted
            error = raised
        self._threads.discard(threading.current_thread())
        # Where nobody wants it a result goes here, and a connection closes as it goes.
        self._deliver(lambda: done(result, error))

    def _clock(self) -> float:
        return math.inf if self._is_cut else monotonic()
