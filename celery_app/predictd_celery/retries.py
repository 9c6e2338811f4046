"""When a task that met a retryable error tries again, and how often.

Owns the policy and its arithmetic; the random number is passed in. It neither waits nor enqueues. Any thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from predictd_proto.errors import PredictdError

#: Redis hands a task out again when it was not acknowledged for this long: that of a worker that was killed (good), and
#: that of one which still runs it or waits for its retry (it runs twice then, which does no harm). Twice the longest
#: that predictd lets a request wait; Celery's own hour would leave a killed worker's tasks lying about for an hour.
VISIBILITY_TIMEOUT_S = 600.0

#: How long a broker waits for an acknowledgement where the app sets nothing: kombu's Redis an hour, its SQS, and
#: RabbitMQ's own `consumer_timeout`, half of that. A retry waits in its worker's memory, unacknowledged.
DEFAULT_VISIBILITY_TIMEOUT_S = 1800.0

#: A retry's wait is at most this share of it: the task has to run in what is left.
VISIBILITY_SHARE = 0.1

#: Retries of a task that says nothing of them (Celery's `max_retries`). With the policy's own delays they outlast a
#: restart of the daemon with a large model: eleven attempts over about two minutes.
DEFAULT_MAX_RETRIES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How long a task waits before it tries again; how often it does is its `max_retries`, as Celery has it.

    Attributes:
        first_delay_s: Before the first retry; it doubles each time.
        max_delay_s: No delay is longer.
    """

    first_delay_s: float = 0.5
    max_delay_s: float = 30.0

    def __post_init__(self) -> None:
        if not 0 < self.max_delay_s <= VISIBILITY_TIMEOUT_S * VISIBILITY_SHARE:
            message = (
                f"max_delay_s: expected more than 0 and at most {VISIBILITY_TIMEOUT_S * VISIBILITY_SHARE:g} "
                f"(a tenth of the broker's visibility timeout), got {self.max_delay_s:g}"
            )
            raise ValueError(message)

    def delay_s(self, error: PredictdError, retries: int, random: float, *, longest_s: float = float("inf")) -> float:
        """Return how long to wait before the next attempt, in seconds.

        Args:
            error: What the last attempt met; the server's own `retry_after_ms` is the least, as far as it is allowed.
            retries: Retries made so far.
            random: From 0 to 1; spreads out the tasks that all failed in the same moment.
            longest_s: What the broker allows; the policy's own `max_delay_s` holds as well.
        """
        longest_s = min(longest_s, self.max_delay_s)
        backoff_s = min(self.first_delay_s * 2.0 ** min(retries, 64), longest_s)
        least_s = (error.retry_after_ms or 0) / 1000
        spread_s = min(max(backoff_s, least_s), longest_s) / 2
        # Where the server asks for more than is allowed they are spread out before that, not all at that instant.
        latest_s = min(max(backoff_s / 2, least_s) + spread_s, longest_s)
        return latest_s - spread_s * (1 - random)


def longest_delay_s(conf: Mapping[str, Any]) -> float:
    """Return the longest that a retry may wait under an app's settings: far below its broker's visibility timeout.

    Args:
        conf: The app's settings (`app.conf`).
    """
    return unacknowledged_s(conf) * VISIBILITY_SHARE


def unacknowledged_s(conf: Mapping[str, Any]) -> float:
    """Return after how many seconds an app's broker hands out again what was not acknowledged.

    Args:
        conf: The app's settings (`app.conf`).
    """
    given_s: Any = (conf["broker_transport_options"] or {}).get("visibility_timeout")
    # What is no number (a text out of the environment) kombu itself fails on, before any task runs.
    if type(given_s) not in {int, float} or given_s <= 0:
        given_s = DEFAULT_VISIBILITY_TIMEOUT_S
    return float(given_s)
