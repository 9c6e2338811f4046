"""What processes cost in memory, shared pages counted fairly.

Owns reading it from the kernel. It starts and ends nothing; the processes are the caller's. Main thread.

RSS counts a page once in each process that maps it: four forked children seem to hold everything four times. PSS splits
a shared page among those who map it, so that it adds up over processes to what is really used. USS is a process's own:
what would be free if it alone ended.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The memory of one process, or of several together.

    Attributes:
        pss_bytes: Shared pages split among their users.
        uss_bytes: Pages of its own.
        rss_bytes: Every page it maps; means little as a sum.
        processes: How many processes this is.
    """

    pss_bytes: int = 0
    uss_bytes: int = 0
    rss_bytes: int = 0
    processes: int = 0

    def __add__(self, other: Memory) -> Memory:
        return Memory(
            pss_bytes=self.pss_bytes + other.pss_bytes,
            uss_bytes=self.uss_bytes + other.uss_bytes,
            rss_bytes=self.rss_bytes + other.rss_bytes,
            processes=self.processes + other.processes,
        )


def memory_of(pids: Iterable[int]) -> Memory:
    """Return the memory of some processes together.

    Raises:
        psutil.NoSuchProcess: One of them is gone.
        psutil.AccessDenied: One of them is another user's.
    """
    total = Memory()
    for pid in pids:
        info = psutil.Process(pid).memory_full_info()
        # macOS and Windows have no PSS; a process's own pages are the nearest there.
        pss_bytes = getattr(info, "pss", info.uss)
        total += Memory(pss_bytes=pss_bytes, uss_bytes=info.uss, rss_bytes=info.rss, processes=1)
    return total


def child_pids(pid: int) -> list[int]:
    """Return a process's direct children: a prefork worker's pool."""
    return [child.pid for child in psutil.Process(pid).children()]


def average_child(pid: int) -> Memory:
    """Return what one of a process's children takes, on average."""
    children = memory_of(child_pids(pid))
    count = max(children.processes, 1)
    return Memory(
        pss_bytes=children.pss_bytes // count,
        uss_bytes=children.uss_bytes // count,
        rss_bytes=children.rss_bytes // count,
        processes=1,
    )


def mapped_files(pid: int) -> set[str]:
    """Return the names of the files that a process maps (Linux), to see which libraries it has loaded."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {Path(line.split(maxsplit=5)[5]).name for line in lines if line.count("/")}
