"""Loading at low priority: whoever is served goes first, on the processors and in the interpreter.

Owns how far the loader steps back. Loader thread.

Measured on 2 cores, 8 callers of a small MLP without a pause, requests during loads against those between. Beside
other work: as it comes p99 2.4 times, p90 3 to 4 times; with niceness 10 and the shorter switch interval 0.9 to 1.6
and 1.0 to 1.3, and a load takes 0.5 s then instead of 0.15. With nothing else on the cores p99 is 2.1 to 3.7 times
with both (ARCHITECTURE.md, "Where the time goes", tells what was tried besides). Niceness 19 takes another fifth
off p99, but leaves a load a hundredth of a saturated machine in place of a tenth: a large model would take an hour.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

#: Added to the process's own niceness.
NICENESS = 10
_MOST_NICE = 19

#: Python's own is 5 ms, which a thread waits for the interpreter each time while a load computes in Python.
SWITCH_S = 0.0005


def step_back() -> None:
    """Lower the calling thread's priority for good; only Linux has one for each thread.

    Not before a model has been loaded: threads inherit it, and TensorFlow starts those that all runs share with its
    first session.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, min(os.getpriority(os.PRIO_PROCESS, 0) + NICENESS, _MOST_NICE))


@contextlib.contextmanager
def yielding() -> Iterator[None]:
    """Let other threads have the interpreter sooner than usual."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(min(before_s, SWITCH_S))
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)
