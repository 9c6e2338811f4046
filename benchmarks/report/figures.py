"""Figures: what was measured, its limit, the goal, and whether it holds.

Owns the record of one line of the report, and how its numbers are written.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One line of the report.

    Attributes:
        what: What was measured, in words.
        rounds: The figure of each round; empty where it could not be measured here, and `beside` says why.
        unit: Its unit; "x" for a ratio.
        goal: "<=" or ">=" and a number; empty for a figure that is only shown.
        beside: The limits that the same rounds measured, in words.
    """

    what: str
    rounds: tuple[float, ...]
    unit: str = "x"
    goal: str = ""
    beside: str = ""

    @property
    def median(self) -> float | None:
        """The median of all rounds; None when there are none."""
        return statistics.median(self.rounds) if self.rounds else None

    @property
    def is_met(self) -> bool | None:
        """Whether the median meets the goal; None when there is no goal or no figure."""
        median = self.median
        if not self.goal or median is None:
            return None
        return median <= self.goal_number if self.goal.startswith("<=") else median >= self.goal_number

    @property
    def goal_number(self) -> float:
        """The number of its goal."""
        return float(self.goal.split()[1])

    @property
    def texts(self) -> tuple[str, str]:
        """The median with its unit and the spread, as they are shown."""
        if self.median is None:
            return "-", "-"
        return f"{number(self.median)} {self.unit}".strip(), spread(self.rounds)

    @property
    def verdict(self) -> str:
        """Whether it meets its goal, in a word."""
        return {True: "met", False: "missed", None: ""}[self.is_met]


def number(value: float) -> str:
    """Return a number with as many digits as mean something."""
    if value >= 1000:
        return f"{value:,.0f}"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.2f}" if value >= 0.1 or value == 0 else f"{value:.2g}"


def spread(rounds: Sequence[float]) -> str:
    """Return the least and the most of some rounds."""
    return f"{number(min(rounds))}-{number(max(rounds))}" if rounds else "-"


def median_and_spread(rounds: Sequence[float]) -> str:
    """Return the median of some rounds with their spread; a dash for none."""
    if not rounds:
        return "-"
    return number(rounds[0]) if len(rounds) == 1 else f"{number(statistics.median(rounds))} ({spread(rounds)})"
