"""Celery tasks under way: so many at once for some seconds, and how long each took from `delay` to its answer.

Owns the loop and the clock of whoever enqueues, and its end. It knows neither the tasks nor their answers. One thread.
"""

from __future__ import annotations

import gc
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

#: Asked with the task's number, enqueues it and returns its result.
Enqueue = Callable[[int], Any]
#: So long an event is waited for before the clock is looked at.
POLL_S = 0.2


class Drain(Protocol):
    """Waits for one event, or for so long."""

    def __call__(self, *, timeout: float) -> object: ...


@dataclass
class TaskCrowd:
    """What some tasks under way at once came to.

    Attributes:
        took: Seconds from enqueueing to the answer, of each task that succeeded.
        failed: How often each kind of error came instead.
        unanswered: How many had neither in time.
        elapsed_s: From the first task to the last answer or error.
        cpu_s: Processor time of this process meanwhile.
    """

    took: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    elapsed_s: float = 0.0
    cpu_s: float = 0.0

    @property
    def done(self) -> int:
        """How many were answered or failed."""
        return len(self.took) + self.failed.total()

    @property
    def per_second(self) -> float:
        """Answers per second."""
        return len(self.took) / self.elapsed_s if self.took else 0.0


def close(app: Any) -> None:
    """Close an app that has asked, while its Redis is there: results unsubscribe from it at their end, again and again.

    They hang together in circles, with those that nobody waits for any more.
    """
    app.backend._pending_results.concrete.clear()
    gc.collect()
    app.close()


def drain_of(app: Any) -> Drain:
    """Return what waits for the next event of an app's results; events call back whoever waits for one."""
    drain: Drain = app.backend.result_consumer.drain_events
    return drain


def ask(
    enqueue: Enqueue,
    drain: Drain,
    in_flight: int,
    seconds: float,
    *,
    timeout_s: float,
    most: float = math.inf,
    check: Callable[[int, Any], None] = lambda number, answer: None,
    clock: Callable[[], float] = time.perf_counter,
) -> TaskCrowd:
    """Keep tasks under way, and wait for all of them.

    Args:
        enqueue: Enqueues one.
        drain: Waits for the next event of their results, for some seconds at most.
        in_flight: How many at once; each that is answered or fails makes room for another one, in whichever order.
        seconds: No task is enqueued after that, but for the first ones.
        timeout_s: It is over when nothing was heard for so long.
        most: No more than so many are enqueued.
        check: Gets each answer with its task's number.
        clock: Tells the time, in seconds.
    """
    crowd, begun, started, used = TaskCrowd(), 0, clock(), time.process_time()

    def note(began_s: float, number: int, result: Any) -> None:
        now = clock()
        crowd.elapsed_s = now - started
        if result.successful():
            crowd.took.append(now - began_s)
            check(number, result.result)
        else:
            crowd.failed[type(result.result).__name__] += 1

    until_s = started + seconds
    while True:
        while begun - crowd.done < in_flight and begun < most and (begun < in_flight or clock() < until_s):
            began_s = clock()
            enqueue(begun).then(partial(note, began_s, begun))
            begun += 1
        crowd.unanswered = begun - crowd.done
        if not crowd.unanswered or clock() > started + crowd.elapsed_s + timeout_s:
            break
        drain(timeout=POLL_S)
    crowd.cpu_s = time.process_time() - used
    return crowd
