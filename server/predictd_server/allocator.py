"""The C library's allocator: how many arenas its threads spread their memory over.

Owns that one setting. Main thread, before any other is started.

glibc gives up to eight arenas per CPU to threads, and what was freed in one is of no use to the others. One for two
CPUs, and two at least, leaves threads of many CPUs few to wait for; `MALLOC_ARENA_MAX` in the environment goes first.
With MobileNetV2 on 2 CPUs the daemon took 775 MiB with them and 725 with two. Whether runs take longer, two busy CPUs
could not tell: their own spread was larger.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

from predictd_server.processors import usable_processors

_M_ARENA_MAX = -8
_LEAST_ARENAS = 2
_PROCESSORS_PER_ARENA = 2


def limit_arenas(environ: Mapping[str, str] = os.environ) -> bool:
    """Limit the arenas, unless the environment says how many; return whether that was done."""
    if "MALLOC_ARENA_MAX" in environ or "glibc.malloc.arena_max" in environ.get("GLIBC_TUNABLES", ""):
        return False
    try:
        arenas = max(_LEAST_ARENAS, usable_processors() // _PROCESSORS_PER_ARENA)
        return bool(ctypes.CDLL(None).mallopt(_M_ARENA_MAX, arenas))
    except (AttributeError, OSError, TypeError):  # another C library than glibc
        return False
