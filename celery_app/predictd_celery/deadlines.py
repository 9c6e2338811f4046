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
from typing import Any, NamedTuple

from predictd_celery.config import task_timeout_ms

#: The margin is this share of the limit...
MARGIN_SHARE = 0.1
#: ... but not more than this: a minute's limit needs no more time to store an error than a second's.
MAX_MARGIN_S = 0.5

_CALL = "the call's timeout of {:g} ms"
_SOFT = "the task's soft time limit of {:g} s"
_HARD = "the task's hard time limit of {:g} s"
_EXPIRY = "the task's expiry"


class Deadline(NamedTuple):
    """When the answer is of no more use, and why.

    Attributes:
        remaining_ms: Milliseconds from now; zero or less when it is over already.
        words: What set it...
        bound: ... and to how much.
    """

    remaining_ms: float
    words: str
    bound: float

    @property
    def set_by(self) -> str:
        """What set it, for the error's text."""
        return self.words.format(self.bound)


@dataclass(frozen=True, slots=True)
class AppBounds:
    """What an app's settings bound where a task and its call say nothing.

    Attributes:
        soft_time_limit_s: None for none.
        time_limit_s: Likewise.
        timeout_ms: What a call may take; None for the client's own.
    """

    soft_time_limit_s: float | None
    time_limit_s: float | None
    timeout_ms: float | None

    @classmethod
    def of(cls, conf: Any) -> AppBounds:
        """Read an app's settings, which takes some 15 us.

        Raises:
            ConfigError: The timeout is none.
        """
        return cls(conf["task_soft_time_limit"], conf["task_time_limit"], task_timeout_ms(conf))


def task_deadline(
    task: Any, request: Any, bounds: AppBounds, *, timeout_ms: float, elapsed_s: float, now: datetime | None = None
) -> Deadline:
    """Return the deadline of a call made inside a task.

    Args:
        task: The running Celery task.
        request: Its request.
        bounds: Its app's.
        timeout_ms: What the call may take in any case, in milliseconds from now.
        elapsed_s: Seconds since the task started; its limits count from there.
        now: The wall clock, which `expires` is compared with; None for the current time.
    """
    remaining_ms, words, bound = timeout_ms, _CALL, timeout_ms
    per_call_hard_s, per_call_soft_s = request.timelimit or (None, None)
    soft_s = per_call_soft_s or task.soft_time_limit or bounds.soft_time_limit_s
    hard_s = per_call_hard_s or task.time_limit or bounds.time_limit_s
    if soft_s and (left_ms := _left_ms(soft_s, elapsed_s)) < remaining_ms:
        remaining_ms, words, bound = left_ms, _SOFT, soft_s
    if hard_s and (left_ms := _left_ms(hard_s, elapsed_s)) < remaining_ms:
        remaining_ms, words, bound = left_ms, _HARD, hard_s
    if request.expires is not None:
        left_s = seconds_until(request.expires, now or datetime.now(timezone.utc))
        if left_s is not None and left_s * 1000 < remaining_ms:
            remaining_ms, words, bound = left_s * 1000, _EXPIRY, 0.0
    return Deadline(remaining_ms, words, bound)


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


def _left_ms(limit_s: float, elapsed_s: float) -> float:
    return (limit_s - elapsed_s - min(limit_s * MARGIN_SHARE, MAX_MARGIN_S)) * 1000
