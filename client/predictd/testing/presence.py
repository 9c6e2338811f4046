"""Whether a fake is there: it may die and come back, and every time it is a new server.

Owns the fake's lives. It opens and closes nothing: sockets and in-process connections look here. Any thread.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable


class Presence:
    """The lives of one fake.

    Args:
        clock: Returns seconds, never goes back.

    Attributes:
        life: Counts the lives; what was connected to an earlier one is lost.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._token = os.urandom(4).hex()
        self._back_s: float | None = 0.0
        self._watchers: list[Callable[[], object]] = []
        self.life: int = 1

    @property
    def server_id(self) -> str:
        """The id of the server that it is in this life."""
        return f"fake-{self._token}-{self.life}"

    @property
    def is_here(self) -> bool:
        """Whether it answers."""
        back_s = self._back_s
        return back_s is not None and self._clock() >= back_s

    @property
    def back_in_s(self) -> float | None:
        """Seconds until it comes back by itself, 0 when it is there; None when somebody has to bring it back."""
        back_s = self._back_s
        return None if back_s is None else max(back_s - self._clock(), 0.0)

    def leave(self, back_after_ms: float | None = None) -> None:
        """Go away, as if killed.

        Args:
            back_after_ms: When to come back by itself, in milliseconds from now; None for not before `come_back`.
        """
        self._back_s = None if back_after_ms is None else self._clock() + back_after_ms / 1000
        self.life += 1
        self._tell()

    def come_back(self) -> None:
        """Come back, as a new server; without effect on one that is there."""
        if not self.is_here:
            self._back_s = 0.0
            self._tell()

    def watch(self, watcher: Callable[[], object]) -> None:
        """Have a function called at every change."""
        self._watchers.append(watcher)

    def unwatch(self, watcher: Callable[[], object]) -> None:
        """Undo `watch`."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)

    def _tell(self) -> None:
        for watcher in list(self._watchers):
            watcher()
