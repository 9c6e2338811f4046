"""Processor time of a process, all its threads together, those that have ended included.

Owns reading the clock that POSIX gives each process. /proc/PID/stat counts the same in ticks of 10 ms: too coarse for
a process that is idle, and for turns of a second.
"""

from __future__ import annotations

import ctypes
import os
import time

_LIBC = ctypes.CDLL(None, use_errno=True)


def cpu_s(pid: int) -> float:
    """Return the seconds of processor time that a process has used so far.

    Raises:
        OSError: There is no such process.
    """
    clock = ctypes.c_int()
    error = _LIBC.clock_getcpuclockid(ctypes.c_int(pid), ctypes.byref(clock))
    if error:
        raise OSError(error, os.strerror(error), f"process {pid}")
    return time.clock_gettime(clock.value)
