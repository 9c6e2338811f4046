"""Alarms: who wants to be looked at when.

Owns the order of instants and forgets what was dropped, also long before its time: requests are answered in
milliseconds and their deadlines lie half a minute away, so nearly every alarm is dropped. One thread.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any

#: An instant, a number that keeps alarms of one instant in order, and the item; None once it is dropped.
Alarm = list[Any]

#: Fewer dropped ones than this are never worth the tidying.
_FEW = 64


class Alarms:
    """A heap of alarms."""

    __slots__ = ("_count", "_dropped", "_heap")

    def __init__(self) -> None:
        self._heap: list[Alarm] = []
        self._count = 0
        self._dropped = 0

    def __len__(self) -> int:
        return len(self._heap) - self._dropped

    def set(self, when_s: float, item: object) -> Alarm:
        """Set an alarm for an item that is not None; return it, to drop it."""
        self._count += 1
        alarm = [when_s, self._count, item]
        heapq.heappush(self._heap, alarm)
        return alarm

    def drop(self, alarm: Alarm) -> None:
        """Forget an alarm and its item; one that has rung or was dropped is left as it is."""
        if alarm[2] is None:
            return
        alarm[2] = None
        self._dropped += 1
        if self._dropped > _FEW and self._dropped * 2 > len(self._heap):
            self._heap = [kept for kept in self._heap if kept[2] is not None]
            heapq.heapify(self._heap)
            self._dropped = 0

    def items(self) -> list[Any]:
        """Return every item once, in no order."""
        return list({id(alarm[2]): alarm[2] for alarm in self._heap if alarm[2] is not None}.values())

    def next_s(self) -> float | None:
        """Return the first instant; None when there is no alarm."""
        heap = self._heap
        while heap:
            if heap[0][2] is not None:
                return float(heap[0][0])
            heapq.heappop(heap)
            self._dropped -= 1
        return None

    def due(self, now_s: float) -> Iterator[Any]:
        """Return the items whose time has come, in order, each once; alarms may be set and dropped meanwhile."""
        while True:
            first_s = self.next_s()
            if first_s is None or first_s > now_s:
                return
            alarm = heapq.heappop(self._heap)
            item, alarm[2] = alarm[2], None
            yield item
