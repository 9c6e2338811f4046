"""JAX's start: threads, GPU memory, and what came of them.

Owns the environment variables that JAX reads while it starts. Loader thread, once.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from predictd_server.processors import usable_processors

if TYPE_CHECKING:
    from predictd_server.settings import Settings

#: How many threads XLA's CPU client has. Without it, one per CPU of the machine, whatever a container may use.
_THREADS = "PJRT_NPROC"
_PREALLOCATE = "XLA_PYTHON_CLIENT_PREALLOCATE"


def start(settings: Settings) -> dict[str, Any]:
    """Start JAX, and return what `status` shows of it.

    Raises:
        ImportError: It can't be imported.
    """
    if settings.intra_op_threads:
        os.environ[_THREADS] = str(settings.intra_op_threads)
    threads = int(os.environ.setdefault(_THREADS, str(usable_processors())))
    os.environ[_PREALLOCATE] = "false" if settings.memory_growth else "true"
    import jax  # pyright: ignore[reportMissingImports]  (an extra of its own)

    return {
        "jax": jax.__version__,
        "devices": [str(device) for device in jax.devices()],
        "usable_cpus": usable_processors(),
        "intra_op_threads": threads,
        "memory_growth": settings.memory_growth,
        "x64": bool(jax.config.jax_enable_x64),
    }
