"""The C library's allocator: how many arenas its threads spread their memory over.

Owns that one setting. Main thread, before any other is started.

glibc gives up to eight arenas per CPU to threads, and what was freed in one is of no use to the others. With
MobileNetV2 the daemon took 775 MiB with them and 725 with two. Whether runs take longer, two busy CPUs could not tell:
their own spread was larger.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

_M_ARENA_MAX = -8
_ARENAS = 2


def limit_arenas(environ: Mapping[str, str] = os.environ) -> bool:
    """Limit the arenas, unless the environment says how many; return whether that was done."""
    if "MALLOC_ARENA_MAX" in environ or "glibc.malloc.arena_max" in environ.get("GLIBC_TUNABLES", ""):
        return False
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS))
    except (AttributeError, OSError, TypeError):  # another C library than glibc
        return False
