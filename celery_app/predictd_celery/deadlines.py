"""How long a task may wait for an answer: the smallest of every bound that Celery and the caller have set.

Owns the arithmetic. It reads a task's request and settings, asks nobody and waits for nothing; clocks are passed in.
Runs in the thread that runs the task.

Which limit holds is Celery's own rule: the call's, else the task's, else the app's. Of the limits that hold, and of
`expires` and the call's timeout, the one that comes first is the deadline. Soft and hard limit end the task whatever it
does, so the answer has to be there a margin earlier, while there is time to fail with an error that says something.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

#: The margin is this share of the limit...
MARGIN_SHARE = 0.1
#: ... but not more than this: a minute's limit needs no more time to store an error than a second's.
MAX_MARGIN_S = 0.5


@dataclass(frozen=True, slots=True, order=True)
class Deadline:
    """When the answer is of no more use, and why.

    Attributes:
        remaining_ms: Milliseconds from now; zero or less when it is over already.
        set_by: What set it, for the error's text.
    """

    remaining_ms: float
    set_by: str


def task_deadline(task: Any, *, timeout_ms: float, elapsed_s: float, now: datetime | None = None) -> Deadline:
    """Return the deadline of a call made inside a task.

    Args:
        task: The running Celery task (its `request`, limits and app).
        timeout_ms: What the call may take in any case, in milliseconds from now.
        elapsed_s: Seconds since the task started; its limits count from there.
        now: The wall clock, which `expires` is compared with; None for the current time.
    """
    bounds = [
        _limit(task, "soft_time_limit", 1, elapsed_s),
        _limit(task, "time_limit", 0, elapsed_s),
        _expiry(task.request.expires, now or datetime.now(timezone.utc)),
        Deadline(timeout_ms, f"the call's timeout of {timeout_ms:g} ms"),
    ]
    return min(bound for bound in bounds if bound is not None)


def seconds_until(expires: object, now: datetime) -> float | None:
    """Return the seconds until a task expires, or None when it doesn't.

    Args:
        expires: As it stands in a request: ISO 8601 text or a datetime; without a zone it is UTC.
        now: The current time.
    """
    if isinstance(expires, str):
        # Python 3.10's own parser knows no "Z".
        expires = datetime.fromisoformat(expires.replace("Z", "+00:00"))
    if not isinstance(expires, datetime):
        return None
    aware = expires if expires.tzinfo else expires.replace(tzinfo=timezone.utc)
    return (aware - now).total_seconds()


def _limit(task: Any, name: str, position: int, elapsed_s: float) -> Deadline | None:
    per_call = task.request.timelimit or (None, None)
    limit_s = per_call[position] or getattr(task, name) or task.app.conf[f"task_{name}"]
    if not limit_s:
        return None
    margin_s = min(limit_s * MARGIN_SHARE, MAX_MARGIN_S)
    kind = "soft" if position else "hard"
    return Deadline((limit_s - elapsed_s - margin_s) * 1000, f"the task's {kind} time limit of {limit_s:g} s")


def _expiry(expires: object, now: datetime) -> Deadline | None:
    remaining_s = seconds_until(expires, now)
    return None if remaining_s is None else Deadline(remaining_s * 1000, "the task's expiry")
