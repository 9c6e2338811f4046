"""Polling: waiting for file descriptors in poll(2), or in select where an event loop took poll away.

Owns that choice. It knows no socket; what a descriptor's readiness means is its owner's business. The waiting thread.
"""

from __future__ import annotations

import select
from typing import Protocol


class Poll(Protocol):
    """What waits for descriptors to become readable."""

    def register(self, descriptor: int, events: int, /) -> None:
        """Wait for this one too."""
        ...

    def unregister(self, descriptor: int, /) -> None:
        """Wait for this one no longer."""
        ...

    def poll(self, timeout: float, /) -> object:
        """Wait until one of them is readable, for some milliseconds."""
        ...


class _Select:
    """poll(2) for platforms and event loops that only have select."""

    def __init__(self) -> None:
        self._descriptors: dict[int, int] = {}

    def register(self, descriptor: int, events: int, /) -> None:
        self._descriptors[descriptor] = events

    def unregister(self, descriptor: int, /) -> None:
        del self._descriptors[descriptor]

    def poll(self, timeout: float, /) -> object:
        return select.select(list(self._descriptors), [], [], timeout / 1000)


#: poll(2)'s "readable", where there is no poll to name it.
READABLE = getattr(select, "POLLIN", 1)


def new_poll(*descriptors: int) -> Poll:
    """Return what waits for these descriptors."""
    # Looked up here and not at import: gevent and eventlet replace it later.
    poll: Poll = select.poll() if hasattr(select, "poll") else _Select()
    for descriptor in descriptors:
        poll.register(descriptor, READABLE)
    return poll
