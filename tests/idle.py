"""Whether a process is idle: the share of a core that it uses while nobody asks it for anything.

Owns the measuring, in windows. A busy machine makes wake-ups and other threads dearer, so one window proves nothing; a
spin takes its core in every window. The test's thread, or one of a program under test: imports only the standard
library, and looks `time.sleep` up when it is called.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

#: Processes have a life of their own; a spin of one thread is all of its core.
MOST_SHARE = 0.4
WINDOW_S = 1.0
PATIENCE_S = 30.0


def idle_share(
    used_s: Callable[[], float] = time.process_time, *, window_s: float = WINDOW_S, patience_s: float = PATIENCE_S
) -> float:
    """Measure windows until one is idle, and fail when none is.

    Args:
        used_s: The processor time used so far, in seconds; this process's own unless told.
        window_s: Seconds of a window.
        patience_s: Seconds of windows before it is no accident.

    Returns:
        The idle window's processor time by its own duration.
    """
    started_s = time.monotonic()
    shares: list[float] = []
    while not shares or time.monotonic() - started_s < patience_s:
        used, clock = used_s(), time.monotonic()
        time.sleep(window_s)
        shares.append((used_s() - used) / (time.monotonic() - clock))
        if shares[-1] < MOST_SHARE:
            return shares[-1]
    text = f"no window of {window_s} s was idle; shares of a core: {[round(share, 2) for share in shares]}"
    raise AssertionError(text)


def of_processes(members: Callable[[], Iterable[psutil.Process]]) -> Callable[[], float]:
    """Return what reads the processor time of some processes; what has ended meanwhile keeps counting."""
    import psutil

    used: dict[int, float] = {}

    def used_s() -> float:
        for member in members():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = member.cpu_times()
                used[member.pid] = times.user + times.system
        return sum(used.values())

    return used_s
