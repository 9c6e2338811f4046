"""The surroundings of a measurement: what else the machine does, and whether its memory is enough.

Owns reading that from the system. It changes nothing. Main thread.
"""

from __future__ import annotations

import fcntl
import os
import platform
from pathlib import Path

from predictd_proto.endpoints import Endpoint
from predictd_proto.errors import ConfigError
from predictd_proto.quantities import counted

#: A machine is busy with more than this many running processes per CPU.
_BUSY = 0.3


def machine(processors: int) -> str:
    """Return the machine in general words."""
    return f"{counted(processors, 'CPU')}, {platform.machine() or 'unknown'}"


def disturbances(endpoint: Endpoint, processors: int) -> list[str]:
    """Return what will make the figures worse or noisier, in words.

    Args:
        endpoint: Where a daemon of this configuration would listen.
        processors: How many CPUs there are to use.
    """
    found = []
    owner = _daemon(endpoint)
    if owner:
        found.append(f"a daemon ({owner}) serves {endpoint}: it and this disturb each other; better stop it meanwhile")
    load = os.getloadavg()[0]
    if load > _BUSY * processors:
        found.append(f"the load average is {load:.1f} on {counted(processors, 'CPU')}: expect more noise")
    return found


def _daemon(endpoint: Endpoint) -> str:
    """Return who holds the endpoint's lock; empty for nobody."""
    if endpoint.path is None:
        return ""
    owner = ""
    try:
        with Path(f"{endpoint.path}.lock").open("rb") as file:
            owner = file.read(32).decode(errors="replace").strip()
            # Shared: two that look at once don't take each other for a daemon.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return f"process {owner}" if owner else "an unknown process"
    except OSError:
        pass
    return ""


def available_bytes(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Return how much memory can be taken without swapping; None where the system doesn't tell."""
    try:
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    except (OSError, ValueError, IndexError):
        pass
    return None


def check_memory(needed_bytes: int, available: int | None, what: str) -> None:
    """Refuse to start what there is no memory for.

    Args:
        needed_bytes: What it will take.
        available: What there is; None where that is not known.
        what: What takes it.

    Raises:
        ConfigError: There is less.
    """
    if available is not None and needed_bytes > available:
        text = (
            f"{what} needs about {needed_bytes >> 20} MiB of memory, and {available >> 20} MiB are available; "
            "stop other programs first"
        )
        raise ConfigError(text)
