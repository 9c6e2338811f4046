"""What runs cost: their mean seconds by batch size, and by the shape of the rows where that differs.

Owns what is remembered of finished runs, and the guess for a shape that has not run yet. Written by whichever thread
ran the batch, one run of a signature at a time; read by the pump.
"""

from __future__ import annotations

import math
from functools import lru_cache

from predictd_server.serving.lengths import Shape

#: Weight of the newest run in a mean.
COST_WEIGHT = 0.1

#: A run that takes this many seconds and this many times what was expected is a surprise: the model's time depends on
#: its input. It is remembered for hundreds of runs, since a long run on the pump's thread keeps everybody waiting.
SURPRISE_S = 0.05
SURPRISE_TIMES = 10
SURPRISE_KEPT = 0.99

#: Durations are remembered of so many sizes and shapes: where rows are not merged, each number of rows that callers
#: choose is one, and where axes are free each length.
MOST_COSTS = 1024

Shapes = tuple[Shape, ...]


class RunCosts:
    """The durations of one signature's runs.

    Args:
        has_shapes: Whether rows may differ in shape.

    Attributes:
        surprise_s: What runs of any size may unexpectedly take; fades with every run that doesn't.
    """

    __slots__ = ("_costs_s", "_has_shapes", "surprise_s")

    def __init__(self, *, has_shapes: bool = False) -> None:
        self._has_shapes = has_shapes
        self._costs_s: dict[int | tuple[int, Shapes], float] = {}
        self.surprise_s = 0.0

    def __len__(self) -> int:
        return len(self._costs_s)

    def mean_s(self, size: int, shapes: Shapes = ()) -> float:
        """Return the mean seconds of a run; a guess for a shape that never ran, infinite where nothing is known."""
        if not self._has_shapes:
            return self._costs_s.get(size, math.inf)
        known_s = self._costs_s.get((size, shapes))
        return self._guess_s(size, shapes) if known_s is None else known_s

    def expected_s(self, size: int, shapes: Shapes = ()) -> float:
        """Return the expected seconds of a run, a surprise counted in."""
        return max(self.mean_s(size, shapes), self.surprise_s)

    def set(self, size: int, shapes: Shapes, seconds: float) -> None:
        """Take what was measured before anybody asked; of several inputs the slowest counts."""
        key = (size, shapes) if self._has_shapes else size
        self._costs_s[key] = max(seconds, self._costs_s.get(key, 0.0))

    def observe(self, size: int, shapes: Shapes, seconds: float) -> None:
        """Take the duration of a run into account."""
        key = (size, shapes) if self._has_shapes else size
        before = self._costs_s.get(key)
        self.surprise_s *= SURPRISE_KEPT
        if before is not None and seconds > max(SURPRISE_S, SURPRISE_TIMES * before):
            self.surprise_s = max(self.surprise_s, seconds)
            return
        if before is None and len(self._costs_s) >= MOST_COSTS:
            self._costs_s.pop(next(iter(self._costs_s)))
        self._costs_s[key] = seconds if before is None else before + COST_WEIGHT * (seconds - before)

    def _guess_s(self, size: int, shapes: Shapes) -> float:
        """Return what rows of other shapes have taken: of larger ones the least, else more than of the largest.

        By the square of the elements: what attention costs, and more than most models do.
        """
        wanted = elements(shapes)
        larger_s, most, most_s = math.inf, 0, math.inf
        # As a list: a run on another thread may add to it meanwhile.
        for key, seconds in list(self._costs_s.items()):
            if not isinstance(key, tuple) or key[0] != size:
                continue
            count = elements(key[1])
            if count >= wanted:
                larger_s = min(larger_s, seconds)
            elif count > most:
                most, most_s = count, seconds
        return larger_s if larger_s < math.inf or not most else most_s * (wanted / most) ** 2


@lru_cache(MOST_COSTS)
def elements(shapes: Shapes) -> int:
    """Return the elements of one row of the largest input."""
    return max([math.prod(shape) for shape in shapes], default=1)
