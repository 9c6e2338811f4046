"""How many chunks are under way: a window that refills, never a message for each chunk of the run.

Owns when the next chunk is begun and which answer is taken next. It knows nothing of threads, tasks and files; what
chunks are scored by is a `Lane`. The thread that runs the scoring.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, Protocol, TypeVar

Work = TypeVar("Work")
WorkIn_contra = TypeVar("WorkIn_contra", contravariant=True)
Handle = TypeVar("Handle")


class Lane(Protocol[WorkIn_contra, Handle]):
    """Where chunks are scored.

    Attributes:
        patience_s: After a stop or an error: for how long what is under way is waited for while nothing of it ends.
    """

    patience_s: float

    def begin(self, work: WorkIn_contra) -> Handle:
        """Have a chunk scored; returns at once."""
        ...

    def wait(self, handles: list[Handle]) -> list[Handle]:
        """Wait until something has ended; return which ones, or none after a while."""
        ...

    def finish(self, handle: Handle) -> None:
        """Keep what came of a chunk that has ended, or raise what it failed with."""
        ...


class Window(Generic[Work, Handle]):
    """Chunks under way in one lane.

    Args:
        lane: Where they are scored.
        size: How many at once.
        clock: Monotonic, in seconds.
    """

    def __init__(self, lane: Lane[Work, Handle], size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._lane, self._size, self._clock = lane, size, clock
        self._under_way: list[tuple[Work, Handle]] = []
        self._error: Exception | None = None
        self._is_stopped = self._is_over = False
        self._last_s = clock()

    def run(self, works: Iterable[Work], is_stopping: Callable[[], bool] = lambda: False) -> Iterator[Work]:
        """Score chunks and yield each that is done, in whatever order.

        After an error, or when it is to stop, nothing new is begun; what is under way is finished and kept, as long as
        something of it ends within the lane's patience.

        Args:
            works: The chunks; taken one by one as there is room.
            is_stopping: Asked before each, and again where nothing has ended for as long as the lane has patience.

        Raises:
            Exception: The first that a chunk failed with, when all others have ended.
        """
        left = iter(works)
        while True:
            self._begin(left, is_stopping)
            if not self._under_way:
                break
            ended = {id(handle) for handle in self._lane.wait([handle for _, handle in self._under_way])}
            if not ended and self._is_silent():
                if self._is_stopped or self._error:
                    break
                self._is_stopped = is_stopping()
            over = [pair for pair in self._under_way if id(pair[1]) in ended]
            self._under_way = [pair for pair in self._under_way if id(pair[1]) not in ended]
            yield from self._finished(over)
        if self._error is not None:
            raise self._error

    def _begin(self, left: Iterator[Work], is_stopping: Callable[[], bool]) -> None:
        while not (self._is_over or self._is_stopped or self._error) and len(self._under_way) < self._size:
            if is_stopping():
                self._is_stopped = True
                return
            work = next(left, None)
            if work is None:
                self._is_over = True
                return
            try:
                self._under_way.append((work, self._lane.begin(work)))
            except Exception as failed:
                self._error = failed
            self._last_s = self._clock()

    def _finished(self, over: list[tuple[Work, Handle]]) -> Iterator[Work]:
        for work, handle in over:
            self._last_s = self._clock()
            try:
                self._lane.finish(handle)
            except Exception as failed:
                self._error = self._error or failed
            else:
                yield work

    def _is_silent(self) -> bool:
        """Whether nothing has begun or ended for as long as the lane has patience; each such time counts once."""
        is_silent = self._clock() - self._last_s > self._lane.patience_s
        if is_silent:
            self._last_s = self._clock()
        return is_silent
