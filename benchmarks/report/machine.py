"""The machine that a report was made on, in general words: nothing that names it."""

from __future__ import annotations

import os
import platform
import re
import resource
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

GIB = 1 << 30
PACKAGES = ("tensorflow", "tensorflow-cpu", "keras", "numpy", "pyzmq")


def machine() -> dict[str, str]:
    """Return what it has and what runs on it, by name."""
    kernel = re.match(r"\d+\.\d+", platform.release())
    return {
        "processor": f"{len(os.sched_getaffinity(0))} cores, {_processor()}",
        "memory": f"{round(psutil.virtual_memory().total / GIB)} GiB",
        "system": f"{platform.system()} {kernel[0] if kernel else ''}",
        "Python": platform.python_version(),
        **{name: found for name in PACKAGES if (found := _version(name))},
    }


def load_before() -> list[float]:
    """Return the load averages of the last 1, 5 and 15 minutes: who else wants the processor."""
    return [round(value, 1) for value in os.getloadavg()]


class OtherWork:
    """How much of the processor whoever isn't measured takes from now on: what makes figures noisy."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._others_s = _others_s()

    def leave_out(self, cpu_s: float) -> None:
        """Count processor time as ours: of processes of ours that none of ours has waited for."""
        self._others_s += cpu_s

    def cores(self) -> float:
        """Return the cores that others used since, once every process of ours has ended."""
        took_s = time.monotonic() - self._began_s
        return max(0.0, _others_s() - self._others_s) / max(took_s, 1e-9)


def _others_s() -> float:
    everybody = psutil.cpu_times()
    idle = everybody.idle + getattr(everybody, "iowait", 0.0)
    # Guests are in the user time already.
    guests = getattr(everybody, "guest", 0.0) + getattr(everybody, "guest_nice", 0.0)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return float(sum(everybody) - idle - guests - sum(one.ru_utime + one.ru_stime for one in used))


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*:\s*(.*)$", path.read_text(), re.MULTILINE) if path.exists() else []
    return names[0] if names else platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
