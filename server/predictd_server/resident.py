"""The process's own memory, as the system counts it.

Owns that one number. Any thread.
"""

from __future__ import annotations

import os
from pathlib import Path


def resident_bytes() -> int | None:
    """Return this process's resident memory; None where /proc doesn't tell (proc(5), statm's second number)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
