"""Comparison: by how much one way is faster than another, and whether that is more than noise.

Owns the arithmetic of gains. Figures are taken side by side, round by round, so that what disturbs the machine for
seconds disturbs both; a gain is the ratio within a round. Pure; any thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

#: Gains below this are not worth a line in a configuration, however certain.
LEAST_GAIN = 1.03

#: What is better in one figure may cost the other one no more than this. Its spread doesn't matter: noise hides losses.
LEAST_KEPT = 0.97

#: The spread leaves out one round of so many at each end: a cron job, a neighbour.
ROUNDS_PER_OUTLIER = 6


@dataclass(frozen=True, slots=True)
class Gain:
    """How many times as good something is as what it was compared with.

    Attributes:
        ratio: The median over the rounds.
        low: The smallest, but for outliers.
        high: The largest, likewise.
    """

    ratio: float
    low: float
    high: float

    @property
    def is_certain(self) -> bool:
        """Whether it is better by more than the noise, and enough to matter."""
        return self.low > 1.0 and self.ratio >= LEAST_GAIN

    @property
    def is_loss(self) -> bool:
        """Whether it is worse, and enough to matter; what may be noise counts too."""
        return self.ratio < LEAST_KEPT

    def __str__(self) -> str:
        return f"{self.ratio:.2f}x ({self.low:.2f} to {self.high:.2f})"


def gain_of(before: Sequence[float], after: Sequence[float]) -> Gain:
    """Return the gain between two series of figures, one of each per round; larger figures are better.

    Raises:
        ValueError: There is no round, or the series are of different lengths.
    """
    ratios = sorted(new / old for old, new in zip(before, after, strict=True))
    if not ratios:
        text = "no rounds to compare"
        raise ValueError(text)
    left_out = len(ratios) // ROUNDS_PER_OUTLIER
    return Gain(median(ratios), ratios[left_out], ratios[-1 - left_out])
