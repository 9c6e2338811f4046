"""The places: how many futures may be under way at once, and which of them are.

Owns the bound, and that no place is lost or given back twice: a place is an entry of its holder, so that after a
signal's exception, wherever it came, giving back is right whether there was a place or not. Any thread of one process.
"""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

Holder = TypeVar("Holder")


class Places(Generic[Holder]):
    """Room for some holders.

    Args:
        count: For how many.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._holders: set[Holder] = set()
        # Its lock is re-entrant: a signal's handler or a finalizer may come back here on the thread that holds it.
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._holders)

    def holders(self) -> tuple[Holder, ...]:
        """Return who has a place now."""
        with self._changed:
            return tuple(self._holders)

    def take(self, holder: Holder, timeout_s: float) -> bool:
        """Wait for a place, for some seconds, and return whether there was one."""
        with self._changed:
            try:
                if not self._changed.wait_for(self._has_room, timeout_s):
                    return False
            except BaseException:
                self._changed.notify()  # what woke this one may have been meant for any
                raise
            self._holders.add(holder)
            return True

    def leave(self, holder: Holder) -> None:
        """Give a holder's place back; without one nothing is done."""
        with self._changed:
            if holder in self._holders:
                self._holders.discard(holder)
                self._changed.notify()

    def _has_room(self) -> bool:
        return len(self._holders) < self._count
