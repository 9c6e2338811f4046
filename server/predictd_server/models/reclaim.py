"""Memory after a load: what Python and the C library hold without need goes back to the system.

Owns that one call. Loader thread after a load, models thread after an unload; it takes some milliseconds.
"""

from __future__ import annotations

import ctypes
import gc


def reclaim_memory() -> None:
    """Free what a load left behind.

    A Keras model is full of reference cycles. And glibc keeps what TensorFlow's many short-lived copies took: 500 MB
    after a ResNet50.
    """
    gc.collect()
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library than glibc
        return
    trim(0)
