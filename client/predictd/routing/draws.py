"""Drawing numbers, for pauses and choices that must not be the same in every process.

Owns nothing but that. Straight from the system, and not from `random`: no state that a fork would double, and nothing
to import in the middle of a call. Any thread.
"""

from __future__ import annotations

import os


def draw() -> float:
    """Return a number from 0 up to 1, evenly drawn."""
    return (int.from_bytes(os.urandom(7), "big") >> 3) * 2.0**-53
