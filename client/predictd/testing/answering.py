"""The thread that runs a test's functions for a fake with sockets: one after another, in the order of the requests.

Owns that thread. So a slow answer holds up later answers, as it does in a model, and nothing else: handshakes, status
and cancels are the socket thread's. What it runs is `daemon.py`'s.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

#: How long an answer may take after its fake has ended; only a failing test waits so long.
PATIENCE_S = 30.0


class AnsweringThread:
    """Runs functions; it starts with the first one."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], object]] = deque()
        self._changed = threading.Condition()
        self._is_stopping = False
        self._thread: threading.Thread | None = None

    def run(self, function: Callable[[], object]) -> None:
        """Have a function run after those that wait."""
        with self._changed:
            self._waiting.append(function)
            self._changed.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="predictd-fake-answers", daemon=True)
            self._thread.start()

    def stop(self) -> bool:
        """Begin nothing any more, and wait for what runs; return whether it has ended."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        if self._thread is None or self._thread is threading.current_thread():
            return True
        self._thread.join(PATIENCE_S)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_stopping)
                if self._is_stopping:
                    return
                function = self._waiting.popleft()
            function()
