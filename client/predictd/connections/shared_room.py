"""The room: the memory that one process shares with one server: how much it may be, and what of it lies idle.

Owns its pieces (sealed memfds), their number and bytes, the idle ones of all connections, and how long nothing is tried
after a refusal. Which request uses what is the connection's (`segments.py`). Any thread; a finalizer may strike
anywhere, and a lock could be left locked by a fork, so there is none: each operation on a dict is atomic.

Idle memory goes when a connection finds no room, whosever it is, and when it was not used for a while. A thread sees to
that, which runs only while there is any: a process that asks for nothing more must not keep what it used at its peak.
"""

from __future__ import annotations

import mmap
import os
import sys
import threading
import time
import weakref
from operator import itemgetter
from time import monotonic
from typing import Any

from predictd.deadline import Deadline
from predictd.process import Process, this_process
from predictd_proto.segments import Segment, SegmentLimits

try:
    import fcntl
except ImportError:  # Windows
    CAN_SHARE: bool = False
else:
    CAN_SHARE = hasattr(os, "memfd_create")

#: linux/fcntl.h; not in every Python that runs here.
_ADD_SEALS = 1033
_SEALS = 0x0001 | 0x0002 | 0x0004  # F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW

#: linux/memfd.h. With vm.memfd_noexec = 1 the kernel warns where it is missing, with 2 there is no memory without it.
_NOEXEC_SEAL = 0x0008

#: The mapping needs no descriptor of its own.
_UNTRACKED: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}

#: After a refusal, so long nothing is offered to that server: each costs a copy and a message in vain.
REFUSED_MS = 10_000.0

#: Memory that no request used for so long goes, as the server's mapping of it does.
IDLE_S = 10.0

#: Between looks at which that is.
SWEEP_S = 2.0

#: Rooms of servers that are gone are dropped when there are so many.
_MOST_ROOMS = 64

_rooms: dict[tuple[Process, str], Room] = {}
_sweepers: dict[Process, threading.Thread] = {}


class Memory:
    """One piece of it.

    Args:
        room: What it belongs to.
        byte_count: Its size.

    Raises:
        OSError: There is no memory or no descriptor for it.
    """

    __slots__ = ("_descriptor", "_process", "_room", "announced", "byte_count", "mapping")

    def __init__(self, room: Room, byte_count: int) -> None:
        self._process = this_process()
        self._room = room
        self._descriptor = _new_memfd()
        # Its pages are this process's, whoever touches them first: the server must never be the one to find none left.
        os.posix_fallocate(self._descriptor, 0, byte_count)
        fcntl.fcntl(self._descriptor, _ADD_SEALS, _SEALS)
        found = os.fstat(self._descriptor)
        self.byte_count: int = byte_count
        self.mapping: mmap.mmap = mmap.mmap(self._descriptor, byte_count, **_UNTRACKED)
        self.announced: Segment = Segment(self._descriptor, found.st_dev, found.st_ino, byte_count)
        room.taken[id(self)] = byte_count

    def __del__(self) -> None:
        # A child may have closed what it inherited, and opened something else under that number.
        if hasattr(self, "_descriptor") and self._process is this_process():
            os.close(self._descriptor)
            self._room.taken.pop(id(self), None)


class Idle:
    """What no request of one connection uses, the longest unused first."""

    __slots__ = ("__weakref__", "_is_closed", "_memories")

    def __init__(self) -> None:
        self._memories: dict[int, tuple[Memory, float]] = {}
        self._is_closed = False

    def put(self, memory: Memory) -> None:
        """Take memory in that is no longer used."""
        self._memories[id(memory)] = (memory, monotonic())
        if self._is_closed:  # looked at last: another thread may close it at any moment
            self._memories.clear()

    def take(self, least_bytes: int, most_bytes: int) -> Memory | None:
        """Return the smallest memory of at least and at most so many bytes; None where there is none."""
        memories = list(self._memories.items())
        sizes = [(memory.byte_count, number) for number, (memory, _) in memories]
        for size, number in sorted(sizes):
            if least_bytes <= size <= most_bytes:
                item = self._memories.pop(number, None)
                if item is not None:
                    return item[0]
        return None

    def since(self) -> list[tuple[float, int]]:
        """Return since when each is unused, and its number."""
        return [(since_s, number) for number, (_, since_s) in list(self._memories.items())]

    def end(self, number: int) -> bool:
        """Let go of one; return whether it was still there."""
        return self._memories.pop(number, None) is not None

    def close(self) -> None:
        """Let go of all, and take none in any more."""
        self._is_closed = True
        self._memories.clear()


class Room:
    """What one process shares with one server.

    Args:
        process: Whose.

    Attributes:
        taken: The bytes of each memory, by a number of it.
    """

    __slots__ = ("_idle", "_process", "_refused", "taken")

    def __init__(self, process: Process) -> None:
        self._process = process
        self._idle: dict[int, weakref.ref[Idle]] = {}
        self._refused: Deadline | None = None
        self.taken: dict[int, int] = {}

    @classmethod
    def of(cls, process: Process, server_id: str) -> Room:
        """Return that of a process and a server."""
        found = _rooms.get((process, server_id))
        if found is not None:
            return found
        if len(_rooms) >= _MOST_ROOMS:
            for key, room in list(_rooms.items()):
                if not room._idle and not room.taken:
                    _rooms.pop(key, None)
        # Of two threads one wins.
        return _rooms.setdefault((process, server_id), cls(process))

    @property
    def is_refused(self) -> bool:
        """Whether the server could not map something a short while ago."""
        return self._refused is not None and not self._refused.is_over

    def refuse(self) -> None:
        """Take note that it could not."""
        self._refused = Deadline(REFUSED_MS)

    def add(self, idle: Idle) -> None:
        """Take in what a connection keeps, for as long as anybody holds it."""
        members, number = self._idle, id(idle)

        def leave(gone: weakref.ref[Idle]) -> None:
            if members.get(number) is gone:
                members.pop(number, None)

        members[number] = weakref.ref(idle, leave)

    def make(self, byte_count: int, limits: SegmentLimits) -> Memory | None:
        """Return new memory; for lack of room idle memory of any connection goes, the longest unused first.

        Args:
            byte_count: Its size.
            limits: What the server maps for this process.

        Returns:
            The memory; None where requests use all that may be, or the system has none.
        """
        while not self._has_room(byte_count, limits):
            if byte_count > limits.max_bytes or not self.end_oldest():
                return None
        try:
            memory = Memory(self, byte_count)
        except (OSError, ValueError, OverflowError, MemoryError):
            return None
        _keep_swept(self._process)
        return memory

    def end_oldest(self) -> bool:
        """Let go of the memory that was not used for longest; return whether there was any."""
        found = [(since_s, number, idle) for idle in self._members() for since_s, number in idle.since()]
        return any(idle.end(number) for _, number, idle in sorted(found, key=itemgetter(0)))

    def end_unused(self, before_s: float) -> None:
        """Let go of what was last used before an instant (monotonic)."""
        for idle in self._members():
            for since_s, number in idle.since():
                if since_s <= before_s:
                    idle.end(number)

    def _members(self) -> list[Idle]:
        members = [reference() for reference in list(self._idle.values())]
        return [idle for idle in members if idle is not None]

    def _has_room(self, size: int, limits: SegmentLimits) -> bool:
        sizes = list(self.taken.values())
        return len(sizes) < limits.max_segments and sum(sizes) + size <= limits.max_bytes


def bytes_taken(process: Process) -> int:
    """Return what a process shares with all servers."""
    return sum([sum(list(room.taken.values())) for room in _rooms_of(process)])


def _rooms_of(process: Process) -> list[Room]:
    return [room for (owner, _), room in list(_rooms.items()) if owner is process]


def _keep_swept(process: Process) -> None:
    """See to it that idle memory goes; without a thread to be had it stays until there is no room."""
    if process in _sweepers:
        return
    thread = threading.Thread(target=_sweep, args=(process,), name="predictd-idle-memory", daemon=True)
    if _sweepers.setdefault(process, thread) is not thread:
        return
    try:
        thread.start()
    except RuntimeError:  # no thread can be started: with the next new memory, perhaps
        _sweepers.pop(process, None)
    except BaseException:
        if not thread.is_alive():
            _sweepers.pop(process, None)
        raise


def _sweep(process: Process) -> None:
    while bytes_taken(process):
        time.sleep(SWEEP_S)
        for room in _rooms_of(process):
            room.end_unused(monotonic() - IDLE_S)
    _sweepers.pop(process, None)
    if bytes_taken(process):  # made since the last look
        _keep_swept(process)


def _new_memfd() -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create("predictd", flags | _NOEXEC_SEAL)
    except OSError:  # Linux before 6.3
        return os.memfd_create("predictd", flags)
