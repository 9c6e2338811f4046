"""Levels: strict priorities, with a bound on how long one is passed over.

Owns which of several priorities gives the next batch. Pure: no clock; pump thread only.

The highest level that waits leads the next batch. A lower one that has been passed over for `wait_s` leads one batch,
and then may be passed over for as long again. So a level that waits leads a batch at the latest `wait_s` after it was
first passed over, as soon as the run that is on has ended and each other level that is due has led one.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field

from predictd_server.serving.account import Account


@dataclass(slots=True, eq=False)
class Level:
    """One priority.

    Attributes:
        priority: The higher goes first.
        passed_s: When a higher one was first preferred to it since it last led, while it waited (monotonic).
        led_s: When a batch of it last began (monotonic).
        account: Shares out the runs that it leads among the models.
    """

    priority: int
    passed_s: float = math.inf
    led_s: float = -math.inf
    account: Account = field(default_factory=Account)


class Levels:
    """All priorities that requests have had.

    Args:
        wait_s: How long a level is passed over at most.
    """

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self._levels: dict[int, Level] = {}

    def __len__(self) -> int:
        return len(self._levels)

    def level(self, priority: int) -> Level:
        """Return the level of a priority."""
        level = self._levels.get(priority)
        if level is None:
            level = self._levels[priority] = Level(priority)
        return level

    def first(self, waiting: Collection[Level], now: float) -> Level:
        """Return which of the levels that wait leads the next batch."""
        longest = min(waiting, key=lambda level: level.passed_s)
        if longest.passed_s + self._wait_s <= now:
            return longest
        return max(waiting, key=lambda level: level.priority)

    def is_active_above(self, level: Level, since_s: float) -> bool:
        """Return whether a higher level has led a batch since then."""
        return any(each.priority > level.priority and each.led_s > since_s for each in self._levels.values())

    def lead(self, leader: Level, waiting: Collection[Level], now: float) -> None:
        """Note that a level leads a batch while others wait."""
        for level in self._levels.values():
            if level is leader or level not in waiting:
                level.passed_s = math.inf
            elif level.priority < leader.priority and level.passed_s == math.inf:
                level.passed_s = now
        leader.led_s = now
