"""The ladder: the allowed batch sizes, each traced and warmed before a model is ready.

Owns the arithmetic of sizes. Pure; any thread.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import pairwise

#: Runs that are shorter than this are joined however little it saves the graph: each costs the server work of its own.
LONG_S = 0.005

#: A larger batch has to answer this many times as many rows a second: a small CNN answers 1,870 rows/s with 16 rows and
#: 1,030 with 64, MobileNetV2 at 96x96 700 and 468.
MOST_LOSS = 1.05

#: Where the largest batch takes less than this, larger ones are tried. They keep nobody waiting for long, and more rows
#: share the server's own work per run: 10^6 rows of a tiny MLP in one call, 0.56 million rows/s by 64, 1.34 by 1024.
SHORT_S = 0.0005

#: Rows of the largest batch that is tried though nobody asked for it.
MOST_ROWS = 1024

#: Between two sizes of which one takes this many times as long as the other, one in between saves padding.
STEEP = 1.5


def batch_ladder(max_batch_size: int) -> tuple[int, ...]:
    """Return the powers of two below `max_batch_size`, and itself: at most half of a batch is padding."""
    sizes = [1]
    while sizes[-1] * 2 < max_batch_size:
        sizes.append(sizes[-1] * 2)
    return (*sizes, max_batch_size) if max_batch_size > 1 else (1,)


def further_sizes(sizes: tuple[int, ...], of_row: int, most: int) -> tuple[int, ...]:
    """Return the sizes that may follow after the largest one, where runs are short.

    Args:
        sizes: The allowed sizes, ascending; with none there is nothing to follow.
        of_row: Bytes of a row.
        most: Bytes that the rows of a batch may have together.
    """
    doubled = (sizes[-1] << times for times in range(1, MOST_ROWS.bit_length())) if sizes else ()
    return tuple(size for size in doubled if size <= MOST_ROWS and size * of_row <= most)


def pays_further(size: int, size_s: float, largest: int, largest_s: float) -> bool:
    """Return whether a size beyond the largest is worth having: it answers more rows a second."""
    return size / size_s >= MOST_LOSS * largest / largest_s


def paying_sizes(sizes: tuple[int, ...], costs_s: Mapping[int, float]) -> tuple[int, ...]:
    """Return the sizes up to the one from which on larger ones answer no more rows a second, to speak of.

    Args:
        sizes: The allowed sizes, ascending.
        costs_s: Seconds of a run, by size; sizes without are left as they are.
    """
    if any(not costs_s.get(size) for size in sizes):
        return sizes
    for index, size in enumerate(sizes):
        best = max((larger / costs_s[larger] for larger in sizes[index + 1 :]), default=0.0)
        if costs_s[size] >= LONG_S and best < MOST_LOSS * size / costs_s[size]:
            return sizes[: index + 1]
    return sizes


def sizes_between(sizes: Sequence[int], costs_s: Mapping[int, float]) -> tuple[int, ...]:
    """Return sizes halfway between neighbours, where padding to the larger one would cost much of a long run."""
    between: list[int] = []
    for smaller, larger in pairwise(sizes):
        low_s, high_s = costs_s.get(smaller, 0.0), costs_s.get(larger, 0.0)
        if larger - smaller > 1 and high_s >= LONG_S and 0.0 < STEEP * low_s <= high_s:
            between.append((smaller + larger) // 2)
    return tuple(between)


def within(sizes: tuple[int, ...], of_row: int, most: int) -> tuple[int, ...]:
    """Return the sizes whose rows together have no more bytes, or elements, than `most`.

    The smallest always stays, or nothing could run.
    """
    return tuple(size for size in sizes if size * of_row <= most) or sizes[:1]


def allowed_size(sizes: tuple[int, ...], rows: int) -> int:
    """Return the smallest allowed size that holds the rows; `rows` is at most the largest."""
    return sizes[bisect_left(sizes, rows)]
