"""The ladder: the allowed batch sizes, each traced and warmed before a model is ready.

Owns the arithmetic of sizes. Pure; any thread.
"""

from __future__ import annotations

from bisect import bisect_left


def batch_ladder(max_batch_size: int) -> tuple[int, ...]:
    """Return the powers of two below `max_batch_size`, and itself: at most half of a batch is padding."""
    sizes = [1]
    while sizes[-1] * 2 < max_batch_size:
        sizes.append(sizes[-1] * 2)
    return (*sizes, max_batch_size) if max_batch_size > 1 else (1,)


def within_bytes(sizes: tuple[int, ...], row_bytes: int, max_batch_bytes: int) -> tuple[int, ...]:
    """Return the sizes whose rows fit the bytes; the smallest always stays, or nothing could run."""
    return tuple(size for size in sizes if size * row_bytes <= max_batch_bytes) or sizes[:1]


def allowed_size(sizes: tuple[int, ...], rows: int) -> int:
    """Return the smallest allowed size that holds the rows; `rows` is at most the largest."""
    return sizes[bisect_left(sizes, rows)]
