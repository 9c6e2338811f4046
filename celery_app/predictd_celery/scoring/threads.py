"""Threads that work off calls and never keep a process from ending.

Owns `Threads`. The standard library's pool joins its threads when the interpreter ends, also where nobody waits for
what they do. `submit` and `close` are for one thread; the calls run in the others.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue

_Call = tuple[Future[None], Callable[[], None]]


class Threads:
    """Some threads, begun as they are needed.

    Args:
        count: How many at most.
        name: What they are called.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count, self._name = count, name
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def submit(self, call: Callable[[], None]) -> Future[None]:
        """Have a call made."""
        if len(self._threads) < self._count:
            thread = threading.Thread(target=self._run, name=f"{self._name}-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        future: Future[None] = Future()
        self._calls.put((future, call))
        return future

    def close(self, *, is_waiting: bool) -> None:
        """End the threads, each when its call is done.

        Args:
            is_waiting: Whether that is waited for, and calls that have not begun are made; else these are dropped.
        """
        with suppress(Empty):
            while not is_waiting:
                self._calls.get_nowait()
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads if is_waiting else ():
            thread.join()

    def _run(self) -> None:
        while (found := self._calls.get()) is not None:
            future, call = found
            try:
                call()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(None)
