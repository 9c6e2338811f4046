"""Where a child is stuck: its Python stack, and what it waits for in the kernel.

Owns asking a process that answers nothing any more. `hanging_tasks.py` has armed its children: SIGUSR2 makes
`faulthandler` write their stack, in C, whatever Python is stuck in. Main thread.
"""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

from benchmarks.processes.memory import child_pids

_FRAME = re.compile(r'File "(?:.*/site-packages/)?(?P<file>.*)", line (?P<line>\d+) in (?P<function>\S+)')
WRITE_S = 0.3


def where_stuck(directory: Path, worker: int) -> str:
    """Return the innermost frame of a worker's only child, and the kernel function that it sleeps in.

    Args:
        directory: Where the child writes its stack.
        worker: The worker's process id.
    """
    child = child_pids(worker)[0]
    os.kill(child, signal.SIGUSR2)
    time.sleep(WRITE_S)
    frame = _FRAME.search((directory / f"{child}.stack").read_text(errors="replace"))
    place = "{file}:{line}, {function}()".format(**frame.groupdict()) if frame else "an unknown place"
    waits_for = _kernel_function(child)
    return f"{place}\n   in the kernel: {waits_for}" if waits_for else place


def _kernel_function(pid: int) -> str:
    """Return what a process sleeps in, such as "futex_do_wait": it waits for a lock."""
    try:
        name = Path(f"/proc/{pid}/wchan").read_text()
    except OSError:
        return ""
    return name if name.strip("0") else ""
