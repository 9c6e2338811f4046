"""What runs cost: their mean seconds by batch size, and by the elements of a row where these differ.

Owns what is remembered of finished runs, and the guess for rows of a length that has not run yet. Written by
whichever thread ran the batch, one run of a signature at a time; read by the pump.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from functools import lru_cache

from predictd_server.serving.lengths import Shape

#: Weight of the newest run in a mean.
COST_WEIGHT = 0.1

#: A run that takes this many seconds and this many times what was expected is a surprise: the model's time depends on
#: its input. It is remembered for hundreds of runs, since a long run on the pump's thread keeps everybody waiting.
SURPRISE_S = 0.05
SURPRISE_TIMES = 10
SURPRISE_KEPT = 0.99

#: Durations are remembered of so many sizes and lengths: where rows are not merged, each number of rows that callers
#: choose is one.
MOST_COSTS = 1024

#: Rows whose elements have these leading bits in common count as alike: eight kinds from one power of two to the next.
#: With each shape by itself, thousands of lengths cost the pump 0.65 ms a batch in guesses, and were forgotten as soon.
LEADING_BITS = 4

Shapes = tuple[Shape, ...]


class RunCosts:
    """The durations of one signature's runs.

    Args:
        has_shapes: Whether rows may differ in shape.

    Attributes:
        surprise_s: What runs of any size may unexpectedly take; fades with every run that doesn't.
        version: Grows with whatever is learnt: what was derived from an older one may be wrong.
    """

    __slots__ = ("_costs_s", "_has_shapes", "_kinds", "surprise_s", "version")

    def __init__(self, *, has_shapes: bool = False) -> None:
        self._has_shapes = has_shapes
        self._costs_s: dict[tuple[int, int], float] = {}
        # Ascending, by size. Never changed in place: the pump reads while a run on another thread adds to it.
        self._kinds: dict[int, tuple[int, ...]] = {}
        self.surprise_s = 0.0
        self.version = 0

    def __len__(self) -> int:
        return len(self._costs_s)

    def kind(self, shapes: Shapes) -> int:
        """Return what rows of some shapes count as: the least number of elements that does."""
        if not self._has_shapes:
            return 0
        count = elements(shapes)
        dropped = max(count.bit_length() - LEADING_BITS, 0)
        return count >> dropped << dropped

    def mean_s(self, size: int, shapes: Shapes = ()) -> float:
        """Return the mean seconds of a run; a guess for a kind that never ran, infinite where nothing is known."""
        return self.mean_of_kind_s(size, self.kind(shapes))

    def mean_of_kind_s(self, size: int, kind: int) -> float:
        """Return the mean seconds of a run of rows of a kind, likewise."""
        known_s = self._costs_s.get((size, kind))
        return self._guess_s(size, kind) if known_s is None else known_s

    def expected_s(self, size: int, shapes: Shapes = ()) -> float:
        """Return the expected seconds of a run, a surprise counted in."""
        return max(self.mean_s(size, shapes), self.surprise_s)

    def set(self, size: int, shapes: Shapes, seconds: float) -> None:
        """Take what was measured before anybody asked; of several inputs the slowest counts."""
        kind = self.kind(shapes)
        self._keep(size, kind, max(seconds, self._costs_s.get((size, kind), 0.0)))

    def observe(self, size: int, shapes: Shapes, seconds: float) -> None:
        """Take the duration of a run into account."""
        kind = self.kind(shapes)
        before = self._costs_s.get((size, kind))
        self.surprise_s *= SURPRISE_KEPT
        if before is not None and seconds > max(SURPRISE_S, SURPRISE_TIMES * before):
            self.surprise_s = max(self.surprise_s, seconds)
            self.version += 1
            return
        self._keep(size, kind, seconds if before is None else before + COST_WEIGHT * (seconds - before))

    def _keep(self, size: int, kind: int, seconds: float) -> None:
        if (size, kind) not in self._costs_s:
            if len(self._costs_s) >= MOST_COSTS:
                self._forget(*next(iter(self._costs_s)))
            self._kinds[size] = tuple(sorted((*self._kinds.get(size, ()), kind)))
        self._costs_s[size, kind] = seconds
        self.version += 1

    def _forget(self, size: int, kind: int) -> None:
        kinds = tuple(each for each in self._kinds[size] if each != kind)
        if kinds:
            self._kinds[size] = kinds
        else:
            del self._kinds[size]
        del self._costs_s[size, kind]

    def _guess_s(self, size: int, kind: int) -> float:
        """Return what rows of other kinds have taken: the next larger, else more than the largest.

        By the square of the elements: what attention costs, and more than most models do.
        """
        kinds = self._kinds.get(size, ())
        index = bisect_left(kinds, kind)
        if index < len(kinds):
            return self._costs_s.get((size, kinds[index]), math.inf)
        if not kinds:
            return math.inf
        # Rows without elements are as good as one.
        return self._costs_s.get((size, kinds[-1]), math.inf) * (kind / max(kinds[-1], 1)) ** 2


@lru_cache(MOST_COSTS)
def elements(shapes: Shapes) -> int:
    """Return the elements of one row of the largest input."""
    return max([math.prod(shape) for shape in shapes], default=1)
