"""A client's half of shared memory, as a test that speaks to a server by hand has it."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from predictd_proto.segments import Segment

ADD_SEALS = 1033
SEAL_SEAL, SEAL_SHRINK, SEAL_GROW = 0x0001, 0x0002, 0x0004
SEALED = SEAL_SEAL | SEAL_SHRINK | SEAL_GROW

needs_memfd = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no memfd_create")


class SharedMemory:
    """A memfd of this process, sealed as asked for; all of its pages are there, unless it is to have holes."""

    def __init__(self, byte_count: int, seals: int = SEALED, *, has_holes: bool = False) -> None:
        self.descriptor = os.memfd_create("predictd-test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.descriptor, byte_count)
        if not has_holes:
            os.posix_fallocate(self.descriptor, 0, byte_count)
        fcntl.fcntl(self.descriptor, ADD_SEALS, seals)
        found = os.fstat(self.descriptor)
        self.segment = Segment(self.descriptor, found.st_dev, found.st_ino, byte_count)
        self.mapping = mmap.mmap(self.descriptor, byte_count)

    def close(self) -> None:
        os.close(self.descriptor)
        self.mapping.close()


@contextmanager
def shared_memory(byte_count: int, seals: int = SEALED, *, has_holes: bool = False) -> Iterator[SharedMemory]:
    memory = SharedMemory(byte_count, seals, has_holes=has_holes)
    try:
        yield memory
    finally:
        memory.close()


def memfds_of(pid: int | str = "self") -> list[str]:
    """Return a process's open memfds and mappings of memfds; none is left where all was given back."""
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        try:
            link = os.readlink(path)
        except OSError:
            continue
        if link.startswith("/memfd:predictd"):
            found.append(f"fd {path.name} {link}")
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return found + [f"map {line}" for line in lines if "/memfd:predictd" in line]
