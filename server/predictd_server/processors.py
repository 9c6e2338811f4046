"""Processors: how many CPUs this process may really use.

Owns the reading of affinity and of a container's quota, which TensorFlow ignores: in a container limited to 2 of 64
CPUs it would start 64 threads that take turns. Any thread.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

_QUOTA_V2 = "cpu.max"
_QUOTA_V1 = ("cpu.cfs_quota_us", "cpu.cfs_period_us")


def usable_processors(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the number of CPUs that this process may use: its affinity, or its control group's quota if smaller.

    Args:
        cgroup: Where the control group's files are; inside a container that is the container's own.
    """
    quota = _quota(cgroup)
    return _affinity() if quota is None else max(1, min(_affinity(), math.ceil(quota)))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota(cgroup: Path) -> float | None:
    try:
        if (cgroup / _QUOTA_V2).is_file():
            quota, period = (cgroup / _QUOTA_V2).read_text().split()
        else:
            quota, period = ((cgroup / "cpu" / name).read_text().strip() for name in _QUOTA_V1)
        return None if quota in {"max", "-1"} else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
