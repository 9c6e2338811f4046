"""Siblings: the pools of one process, which share the number of connections that it should have.

Owns the list of a process's pools, their queue of callers, and whose idle connection goes where a new one is to be had.
Any thread: each operation on the dicts is atomic, so there is no lock that a fork could leave locked; a child process
begins with none. A pool that nobody holds any more leaves the list by itself.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from predictd.connections.transport import open_connections
from predictd.connections.turns import Turns
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

    def make_room(self, most_connections: int) -> bool:
        """Return whether the process may open another connection; an idle one is closed for it where it has enough."""
        return open_connections(self._process) < most_connections or self._end_idle()

    def _end_idle(self) -> bool:
        """Close the connection that is idle longest in the pool with most of them; return whether there was any."""
        while True:
            pools = [pool for pool in [reference() for reference in list(self._pools.values())] if pool is not None]
            fullest = max(pools, key=len, default=None)
            if fullest is None or not fullest:
                return False
            if fullest.end_oldest():
                return True
