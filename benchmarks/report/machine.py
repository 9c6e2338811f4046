"""The machine that a report was made on, in general words: nothing that names it."""

from __future__ import annotations

import os
import platform
import re
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


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*:\s*(.*)$", path.read_text(), re.MULTILINE) if path.exists() else []
    return names[0] if names else platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
