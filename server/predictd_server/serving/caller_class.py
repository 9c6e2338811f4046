"""Caller classes: kinds of callers that the server treats differently, as its settings say.

Owns the record of one class's settings, and which class a request belongs to by the name that it came with. What a
weight, a priority and a bound do is `lanes.py`'s, `levels.py`'s and `admission.py`'s. Pure; pump thread only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from predictd_server.serving.counters import Counters

#: The class of callers that name none, or one that is not set.
DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerClass:
    """What is set for one class of callers.

    Attributes:
        name: What requests carry as `caller_class`.
        weight: Its share of each model's time against the other classes', while all want it.
        priority: Requests of a higher one go first; that of the model is added.
        max_queue_rows: Rows of it that may wait for one model; None for as many as the model's queue has room for.
        batch_timeout_ms: Batch window in milliseconds; None for the model's.
    """

    name: str
    weight: float = 1.0
    priority: int = 0
    max_queue_rows: int | None = None
    batch_timeout_ms: float | None = None


class CallerClasses:
    """All classes that are set.

    Args:
        classes: They; empty where all callers are treated alike.
        counters: Where requests of unknown classes are counted.

    Attributes:
        all: They, the default class among them; empty where all callers are treated alike.
    """

    def __init__(self, classes: Iterable[CallerClass] = (), counters: Counters | None = None) -> None:
        named = {each.name: each for each in classes}
        if named:
            named.setdefault(DEFAULT, CallerClass(name=DEFAULT))
        self.all = tuple(named.values())
        self._named = named
        self._counters = Counters() if counters is None else counters
        self._weights = sum(each.weight for each in self.all)

    def find(self, name: str) -> CallerClass:
        """Return the class of a request that came with such a name; only where any are set."""
        found = self._named.get(name)
        if found is None:
            if name:
                self._counters.unknown_classes_total += 1
            found = self._named[DEFAULT]
        return found

    def part(self, caller: CallerClass) -> float:
        """Return a class's share of what all classes have together."""
        return caller.weight / self._weights
