"""A condition variable that a fork can't leave locked.

Owns the one lock that a fake is guarded by. Any thread, any process: a child gets a new one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from predictd.process import Process, this_process

#: What a predicate looks at may change without us, or just before we wait.
_SLICE_S = 0.05


class Monitor:
    """Guards the state of one fake, and wakes who waits for a change of it.

    Use it as a context manager to hold it; holding it twice is allowed.
    """

    def __init__(self) -> None:
        self._process: Process = this_process()
        self._condition = threading.Condition()

    def __enter__(self) -> None:
        self._here().acquire()

    def __exit__(self, *exception: object) -> None:
        condition = self._here()
        condition.notify_all()
        condition.release()

    def wait_for(self, predicate: Callable[[], object], timeout_s: float) -> bool:
        """Wait until a predicate holds; return whether it does.

        It is looked at after every change and every 50 ms, and never under the lock: it may ask whom this guards.
        """
        end_s = time.monotonic() + timeout_s
        while True:
            if predicate():
                return True
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                return False
            condition = self._here()
            with condition:
                condition.wait(min(left_s, _SLICE_S))

    def _here(self) -> threading.Condition:
        process = this_process()
        if self._process is not process:
            # Whoever held the lock when this process was forked is not here to release it.
            self._condition = threading.Condition()
            self._process = process
        return self._condition
