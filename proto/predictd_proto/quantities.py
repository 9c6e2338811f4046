"""Quantities as people read them: sizes, counts and durations.

Owns the few words that all programs print them in. Any thread.
"""

from __future__ import annotations

_STEP = 1000


def bytes_text(count: int | None) -> str:
    """Return a size."""
    if count is None:
        return "-"
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < _STEP:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= _STEP
    return f"{size:.1f} TB"


def count_text(count: int | None) -> str:
    """Return a number with its thousands apart."""
    return "-" if count is None else f"{count:,}"


def counted(count: int, thing: str) -> str:
    """Return a number of things."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def seconds_text(milliseconds: float) -> str:
    """Return a duration."""
    return f"{milliseconds / _STEP:.1f} s" if milliseconds >= _STEP else f"{milliseconds:.0f} ms"
