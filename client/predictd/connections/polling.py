"""Polling: waiting for file descriptors in poll(2), or in whatever an event loop has put in its place.

Owns that choice, anew for every wait: gevent and eventlet may patch a process in which connections exist already, and
what they put in poll's place belongs to the loop of the thread that made it. Only a thread that runs during the patch
keeps what it had: it has no such loop, and gevent crashed (SIGSEGV, one run in ten) when one grew in it. It knows no
socket; what a descriptor's readiness means is its owner's business. The waiting thread or greenlet.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any

#: poll(2)'s "readable", where there is no poll to name it.
READABLE = getattr(select, "POLLIN", 1)


class Poll:
    """What waits for descriptors to become readable.

    Args:
        descriptors: Which ones, to begin with.
        kind: What makes that which waits; None for `select.poll` as it is at each wait.
    """

    __slots__ = ("_descriptors", "_kind", "_made", "_made_by")

    def __init__(self, *descriptors: int, kind: Callable[[], Any] | None = None) -> None:
        self._kind = kind
        self._descriptors = dict.fromkeys(descriptors, READABLE)
        self._made: Any = None
        self._made_by: object = None

    def register(self, descriptor: int, events: int = READABLE, /) -> None:
        """Wait for this one too."""
        self._descriptors[descriptor] = events
        self._made = None

    def unregister(self, descriptor: int, /) -> None:
        """Wait for this one no longer."""
        del self._descriptors[descriptor]
        self._made = None

    def poll(self, timeout_ms: float, /) -> object:
        """Wait until one of them is readable, for some milliseconds."""
        kind = self._kind or current_kind()
        if self._made is not None and kind is self._made_by:
            return self._made.poll(timeout_ms)
        if kind is None:
            return select.select(list(self._descriptors), [], [], timeout_ms / 1000)
        made = kind()
        for descriptor, events in self._descriptors.items():
            made.register(descriptor, events)
        # The system's own poll is made by a function and may be kept; a loop's is a class.
        if not isinstance(kind, type):
            self._made, self._made_by = made, kind
        return made.poll(timeout_ms)


def new_poll(*descriptors: int) -> Poll:
    """Return what waits for these descriptors."""
    return Poll(*descriptors)


def current_kind() -> Callable[[], Any] | None:
    """Return `select.poll` as it is now, or None where there is none."""
    return getattr(select, "poll", None)
