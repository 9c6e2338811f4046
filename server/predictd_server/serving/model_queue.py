"""One model's part of the queue: how much of it waits, how fast it is worked off, and its weight.

Owns the numbers of one model, all its versions and signatures together; what they mean for a request is
`admission.py`'s, for the order of runs `lanes.py`'s. What it has had of the engine is `account.py`'s. Pump thread
only; any thread reads single numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from predictd_server.serving.caller_class import CallerClass
from predictd_server.serving.class_queue import ClassQueue

#: Weight of the newest run in the mean.
PACE_WEIGHT = 0.1


@dataclass(slots=True, eq=False)
class ModelQueue:
    """What waits for one model.

    Attributes:
        name: The model's.
        max_rows: Rows of it that may wait.
        rows: Rows of it that wait.
        counted_rows: Those that count: of a request that will be cut, no more than its signature says.
        weight: Its share of the engine against the other models'.
        priority: What is added to that of a request's class.
        parts: What waits of each class; empty where all callers are treated alike.
        ran_s: Seconds that the engine has spent on it.
        taken_s: When a batch of it last began (monotonic).
    """

    name: str
    max_rows: int
    rows: int = 0
    counted_rows: int = 0
    weight: float = 1.0
    priority: int = 0
    parts: dict[CallerClass, ClassQueue] = field(default_factory=dict)
    ran_s: float = 0.0
    taken_s: float = -math.inf
    seconds_per_row: float = 0.0

    def observe(self, rows: int, seconds: float) -> None:
        """Take a finished run into account for later estimates."""
        self.seconds_per_row = paced(self.seconds_per_row, rows, seconds)


def paced(before_s: float, rows: int, seconds: float) -> float:
    """Return the mean seconds of a row after another run."""
    per_row_s = seconds / max(rows, 1)
    return before_s + PACE_WEIGHT * (per_row_s - before_s) if before_s else per_row_s
