"""Memfds: a client's segment, opened and mapped, or refused.

Owns what is looked at before. Of what is no memfd of ordinary memory only its place is looked at, it is never opened.
Pump thread only.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import sys

from predictd_proto.errors import SegmentRefusedError
from predictd_proto.segments import Segment

#: What the link in /proc says of a memfd.
_MEMFD = "/memfd:"

#: The unit of `st_blocks`.
_BLOCK_BYTES = 512

#: Not in every Python that runs here: linux/fcntl.h.
_GET_SEALS = getattr(fcntl, "F_GET_SEALS", 1034)
_SEALED = 0x0001 | 0x0002 | 0x0004  # F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW

#: linux/memfd.h. With vm.memfd_noexec = 2 there is no memory without it.
_NOEXEC_SEAL = 0x0008

#: The mapping needs no descriptor of its own.
_UNTRACKED = {"trackfd": False} if sys.version_info >= (3, 13) else {}


def memfd_mount() -> str | None:
    """Return where memfds are mounted; None where this system has none, or no /proc to open others' by."""
    try:
        descriptor = _probe()
    except (AttributeError, OSError):
        return None
    try:
        fcntl.fcntl(descriptor, _GET_SEALS)
        os.readlink(f"/proc/self/fd/{descriptor}")
        return _mount_of(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _probe() -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create("predictd-probe", flags | _NOEXEC_SEAL)
    except OSError:  # Linux before 6.3
        return os.memfd_create("predictd-probe", flags)


def _mount_of(descriptor: int) -> str | None:
    """Return the number of the mount that a descriptor lies in; asking the file itself could block."""
    with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as lines:
        return next((line.split()[1] for line in lines if line.startswith("mnt_id:")), None)


def map_memfd(pid: int, segment: Segment, mount: str) -> mmap.mmap:
    """Return a segment of a process, mapped.

    Raises:
        SegmentRefusedError: It is none that may be mapped, or can't be.
    """
    try:
        descriptor = _opened(pid, segment, mount)
    except OSError as error:
        raise _refused(segment, pid, f"it can't be opened: {error.strerror}") from error
    try:
        why = _misfit(descriptor, segment)
        if why is not None:
            raise _refused(segment, pid, why)
        return mmap.mmap(descriptor, segment.byte_count, **_UNTRACKED)
    except (OSError, ValueError, OverflowError) as error:
        raise _refused(segment, pid, f"it can't be mapped: {error}") from error
    finally:
        os.close(descriptor)


def _opened(pid: int, segment: Segment, mount: str) -> int:
    """Return a segment, opened; of anything but a memfd only its place is looked at.

    The client may put something else under its number at any moment, and to open a device, or what another process
    answers for, could block: so that which is looked at is held, and it is what is opened.

    Raises:
        SegmentRefusedError: It is none.
        OSError: It can't be opened.
    """
    held = os.open(f"/proc/{pid}/fd/{segment.descriptor}", os.O_PATH | os.O_CLOEXEC)
    try:
        if not os.readlink(f"/proc/self/fd/{held}").startswith(_MEMFD):
            raise _refused(segment, pid, "it is no memfd")
        if _mount_of(held) != mount:
            raise _refused(segment, pid, "it is no memfd of ordinary memory")
        return os.open(f"/proc/self/fd/{held}", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    finally:
        os.close(held)


def _misfit(descriptor: int, segment: Segment) -> str | None:
    """Return what is wrong with an opened segment; None where it is as announced and can't change its size."""
    found = os.fstat(descriptor)
    if (found.st_dev, found.st_ino) != (segment.device, segment.inode):
        return "another file than the announced one is open there"
    if found.st_uid != os.geteuid():
        return f"it belongs to user {found.st_uid}, not to {os.geteuid()}"
    if fcntl.fcntl(descriptor, _GET_SEALS) & _SEALED != _SEALED:
        return "it is not sealed against shrinking, growing and further seals"
    if found.st_size != segment.byte_count:
        return f"it has {found.st_size} bytes, announced were {segment.byte_count}"
    if found.st_blocks * _BLOCK_BYTES < found.st_size:
        return f"of its {found.st_size} bytes only {found.st_blocks * _BLOCK_BYTES} are allocated"
    return None


def _refused(segment: Segment, pid: int, why: str) -> SegmentRefusedError:
    text = f"shared memory: descriptor {segment.descriptor} of process {pid}: {why}; send the tensors in frames"
    return SegmentRefusedError(text)
