"""Siblings: the pools of one process, which share the number of connections that it should have.

Owns the list of a process's pools, their queue of callers, and whose idle connection goes where a new one is to be had.
Any thread: each operation on the dicts is atomic, so there is no lock that a fork could leave locked; a child process
begins with none. A pool that nobody holds any more leaves the list by itself.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from predictd.connections.turns import Place, Turns, places_taken
from predictd.process import Process

if TYPE_CHECKING:
    from predictd.connections.pool import Pool

_siblings: dict[Process, Siblings] = {}


class Siblings:
    """The pools of a process.

    Args:
        process: Which.

    Attributes:
        turns: Callers that wait for a connection.
    """

    __slots__ = ("_pools", "_process", "turns")

    def __init__(self, process: Process) -> None:
        self.turns: Turns = Turns()
        self._process = process
        self._pools: dict[int, weakref.ref[Pool]] = {}

    @classmethod
    def of(cls, process: Process) -> Siblings:
        """Return those of a process."""
        found = _siblings.get(process)
        # Of two threads one wins.
        return found if found is not None else _siblings.setdefault(process, cls(process))

    def add(self, pool: Pool) -> None:
        """Take a pool in."""
        pools, number = self._pools, id(pool)

        def leave(gone: weakref.ref[Pool]) -> None:
            if pools.get(number) is gone:
                pools.pop(number, None)

        pools[number] = weakref.ref(pool, leave)

    def take_place(self, asking: Pool, most_connections: int) -> Place | None:
        """Return a place for another connection; where the process has enough of them, an idle one is closed for it.

        Args:
            asking: Whose caller wants it; an idle one of this pool is not closed, as the caller can have it.
            most_connections: How many the process should have.

        Returns:
            The place; None where all of them are with callers.
        """
        place = Place(self._process)
        if places_taken(self._process) <= most_connections or self._end_idle(asking):
            return place
        place.leave()
        return None

    def _end_idle(self, asking: Pool) -> bool:
        """Close the connection that is idle longest in the pool with most of them; return whether there was any."""
        while True:
            all_pools = [reference() for reference in list(self._pools.values())]
            pools = [pool for pool in all_pools if pool is not None and pool is not asking]
            fullest = max(pools, key=len, default=None)
            if fullest is None or not fullest:
                return False
            if fullest.end_oldest():
                return True
