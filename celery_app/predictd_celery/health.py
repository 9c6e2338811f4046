"""How the daemon is, as a worker sees it: looked at now and then, told by `celery inspect predictd`.

    app.steps["consumer"].add(predictd_celery.DaemonHealth)     # in an app of one's own; the ready app has it

Owns the part of Celery's consumer that does this, and the remote-control command. Both run in the worker's parent,
which must have no socket to the daemon: its children would inherit it. So the look itself is a job for the worker's
pool, like a task without a message: a child asks, by a short connection of the look's own, and the parent keeps the
last answer. (A process of its own for each look takes 0.3 s of a core; a task in the queue waits behind all others, and
any worker may take it.) It waits for a free child as tasks do, in their line: prefork's semaphore lets one more task
into the pool for each job that ends, and a task that is in the pool too early can't be revoked nor handed back any
more. A pool that is busy looks later; the answer tells its age. The command never waits.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from celery import bootsteps
from celery.worker.control import inspect_command

import predictd
from predictd_celery.config import health_interval_s
from predictd_celery.item_answers import error_facts
from predictd_proto.errors import PredictdError

#: A look takes a child for this long at most.
LOOK_TIMEOUT_MS = 2000.0
CONNECT_TIMEOUT_MS = 1000.0
#: A look that a child was given, and of which nothing was heard for so long, went down with the child.
LOST_AFTER_S = 300.0
#: Asked again within this time, the last answer is good enough.
FRESH_S = 1.0

UNREACHABLE, UNKNOWN = "unreachable", "unknown"

logger = logging.getLogger(__name__)
_client = predictd.Client(timeout_ms=LOOK_TIMEOUT_MS, connect_timeout_ms=CONNECT_TIMEOUT_MS)


def look() -> dict[str, Any]:
    """Return how the daemon is, JSON-safe; runs in the pool and never raises."""
    try:
        status = _client.status()
    except PredictdError as error:
        return {"state": UNREACHABLE, "endpoint": _client.endpoint, "error": error_facts(error)}
    except Exception as error:  # the worker's own soft limit among them, which counts for this job too
        return {"state": UNKNOWN, "endpoint": _client.endpoint, "error": {"message": repr(error)}}
    return {
        "state": status.state,
        "responsive": status.responsive,
        "endpoint": status.endpoint,
        "server_id": status.server_id,
        "server": status.server,
        "pid": status.pid,
        "uptime_s": status.uptime_s,
        "queued_requests": status.queued_requests,
        "oldest_queued_ms": status.oldest_queued_ms,
        "models": {f"{model.name}:{model.version}": model.state for model in status.models},
    }


class DaemonHealth(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """Looks at the daemon every `PREDICTD_HEALTH_INTERVAL_S` seconds and logs what has changed."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._interval_s = health_interval_s()
        self._timers: tuple[Any, ...] = ()
        self._told: dict[str, Any] = {"state": UNKNOWN}
        self._told_s: float | None = None
        self._is_in_line = False
        self._given_s: float | None = None
        consumer.predictd_health = self

    def include_if(self, consumer: Any) -> bool:
        """Whether it is wanted."""
        return health_interval_s() > 0

    def start(self, consumer: Any) -> None:
        """Begin to look; also after the broker was away, which clears all timers and the line before the pool."""
        self._is_in_line, self._given_s = False, None
        timer = consumer.timer
        # The first one by the timer too: prefork's pool takes no job before the worker's loop runs.
        first = timer.call_after(0, self.look, (consumer,))
        self._timers = (first, timer.call_repeatedly(self._interval_s, self.look, (consumer,)))

    def stop(self, consumer: Any) -> None:
        """Look no longer."""
        for timer in self._timers:
            timer.cancel()
        self._timers = ()

    def look(self, consumer: Any) -> None:
        """Have the pool look, unless it is about to."""
        if self._is_in_line or (self._given_s is not None and time.monotonic() - self._given_s < LOST_AFTER_S):
            return
        self._is_in_line = True
        places = _places(consumer.controller)
        if places is None:
            self._give(consumer)
        else:
            places.acquire(self._give, consumer)

    def _give(self, consumer: Any) -> None:
        self._is_in_line, self._given_s = False, time.monotonic()
        consumer.pool.apply_async(look, callback=self._take, error_callback=self._lose)

    def report(self, consumer: Any) -> dict[str, Any]:
        """Return what is known and how old that is; have the pool look where it isn't fresh."""
        age_s = None if self._told_s is None else time.monotonic() - self._told_s
        if age_s is None or age_s > FRESH_S:
            self.look(consumer)
        return {**self._told, "age_s": None if age_s is None else round(age_s, 3)}

    def _take(self, told: dict[str, Any]) -> None:
        before, self._told = self._told, told
        self._told_s, self._given_s = time.monotonic(), None
        if told["state"] == before["state"] and told.get("responsive") == before.get("responsive"):
            return
        is_well = told["state"] == "ready" and told["responsive"]
        level = logging.INFO if is_well else logging.WARNING
        logger.log(level, "predictd at %s is %s", told["endpoint"], _in_words(told))

    def _lose(self, error: object) -> None:
        """A child that was ended in the middle of a look says nothing of the daemon."""
        self._given_s = None


def _places(controller: Any) -> Any:
    """Return the semaphore that lets tasks into the worker's pool; None where they go in at once.

    Celery makes one for any pool in a worker with an event loop; prefork's alone gives back what was taken.
    """
    takes_places = controller.pool_putlocks and controller.pool_cls.uses_semaphore
    return controller.semaphore if takes_places else None


def _in_words(told: dict[str, Any]) -> str:
    if "error" in told:
        return f"{told['state']}: {told['error']['message']}"
    return f"{told['state']}{'' if told['responsive'] else ', but does not respond'}"


@inspect_command(name="predictd")  # type: ignore[untyped-decorator]
def inspect_predictd(state: Any) -> dict[str, Any]:
    """How predictd is, as the worker's children see it; the answer tells its age."""
    health = getattr(state.consumer, "predictd_health", None)
    if health is None:
        return {"error": 'nobody looks: add app.steps["consumer"].add(predictd_celery.DaemonHealth)'}
    report: dict[str, Any] = health.report(state.consumer)
    return report
