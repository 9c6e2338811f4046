"""The choice of batch sizes from measured durations: how large a batch may get, and which sizes it is padded to.

Owns the arithmetic. Pure; any thread.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

#: The largest size is the smallest one that answers this part of the most rows a second.
ENOUGH = 0.95

#: A batch takes at most this many times as long, for being padded, as it would without.
MOST_PADDING = 1.2

#: Each size is warmed up at every load, and has a memory of its own in the kernels' caches.
MOST_SIZES = 24


class Curve:
    """Seconds of a run by rows: measured at some sizes, on straight lines between them.

    Args:
        durations_s: Seconds by size; at least one size.
    """

    def __init__(self, durations_s: Mapping[int, float]) -> None:
        self.sizes = sorted(durations_s)
        # A larger batch that took less time was measured in a quieter moment.
        self._durations_s: list[float] = []
        for size in self.sizes:
            self._durations_s.append(max(durations_s[size], *self._durations_s[-1:], 1e-9))

    def duration_s(self, rows: int) -> float:
        """Return the seconds of a run; beyond the sizes that were measured, those of the nearest."""
        right = bisect_left(self.sizes, rows)
        if right == len(self.sizes):
            return self._durations_s[-1]
        if right == 0 or self.sizes[right] == rows:
            return self._durations_s[right]
        low, high = self.sizes[right - 1], self.sizes[right]
        part = (rows - low) / (high - low)
        return self._durations_s[right - 1] * (1 - part) + self._durations_s[right] * part

    def rows_per_second(self, rows: int) -> float:
        """Return the throughput of full batches of a size."""
        return rows / self.duration_s(rows)


def most_rows(curve: Curve, latency_s: float) -> int:
    """Return the smallest measured size with nearly the highest throughput of those within the latency.

    Args:
        curve: What was measured.
        latency_s: Longest that a full batch may take. Where even the smallest size takes longer, that one is left.
    """
    fitting = [size for size in curve.sizes if curve.duration_s(size) <= latency_s] or curve.sizes[:1]
    best = max(curve.rows_per_second(size) for size in fitting)
    return next(size for size in fitting if curve.rows_per_second(size) >= ENOUGH * best)


def choose_sizes(curve: Curve, most: int) -> tuple[int, ...]:
    """Return allowed sizes up to `most` between which padding costs little: few where a run takes as long anyway.

    Args:
        curve: What was measured.
        most: The largest size.
    """
    padding = MOST_PADDING
    while len(sizes := _sizes(curve, most, padding)) > MOST_SIZES:
        padding *= 1.05
    return sizes


def _sizes(curve: Curve, most: int, padding: float) -> tuple[int, ...]:
    sizes = [most]
    every = range(1, most + 1)
    while sizes[-1] > 1:
        # The most rows for which a run of this size would be too long; all between the two are padded to this one.
        below = bisect_right(every, curve.duration_s(sizes[-1]) / padding, key=curve.duration_s)
        if below == 0:
            break
        sizes.append(min(below, sizes[-1] - 1))
    # One row by itself is what a caller alone sends.
    return tuple(sorted({*sizes, 1}))


def padding_cost(curve: Curve, sizes: Sequence[int], most: int) -> float:
    """Return how many times as long batches take for being padded, the mean over every number of rows up to `most`.

    Args:
        curve: What was measured.
        sizes: The allowed sizes, ascending; the last one is `most` or larger.
        most: The most rows.
    """
    ratios = [curve.duration_s(sizes[bisect_left(sizes, rows)]) / curve.duration_s(rows) for rows in range(1, most + 1)]
    return sum(ratios) / len(ratios)
