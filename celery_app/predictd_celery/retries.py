"""When a task that met a retryable error tries again, and how often.

Owns the policy and its arithmetic; the random number is passed in. It neither waits nor enqueues. Any thread.
"""

from __future__ import annotations

from dataclasses import dataclass

from predictd_proto.errors import PredictdError

#: Redis hands a task out again when it was not acknowledged for this long: that of a worker that was killed (good), and
#: that of one which still runs it or waits for its retry (it runs twice then, which does no harm). Twice the longest
#: that predictd lets a request wait; Celery's own hour would leave a killed worker's tasks lying about for an hour.
VISIBILITY_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How a task tries again.

    The defaults outlast a restart of the daemon with a large model: eleven attempts over about two minutes.

    Attributes:
        max_retries: Attempts after the first.
        first_delay_s: Before the first retry; it doubles each time.
        max_delay_s: No delay is longer.
    """

    max_retries: int = 10
    first_delay_s: float = 0.5
    max_delay_s: float = 30.0

    def __post_init__(self) -> None:
        if self.max_retries < 0:
            message = f"max_retries: expected 0 or more, got {self.max_retries}"
            raise ValueError(message)
        if not 0 < self.max_delay_s <= VISIBILITY_TIMEOUT_S / 10:
            message = (
                f"max_delay_s: expected more than 0 and at most {VISIBILITY_TIMEOUT_S / 10:g} "
                f"(a tenth of the broker's visibility timeout), got {self.max_delay_s:g}"
            )
            raise ValueError(message)

    def delay_s(self, error: PredictdError, retries: int, random: float) -> float:
        """Return how long to wait before the next attempt, in seconds.

        Args:
            error: What the last attempt met; the server's own `retry_after_ms` is the least.
            retries: Retries made so far.
            random: From 0 to 1; spreads out the tasks that all failed in the same moment.
        """
        backoff_s = min(self.first_delay_s * 2.0 ** min(retries, 64), self.max_delay_s)
        least_s = (error.retry_after_ms or 0) / 1000
        spread_s = max(backoff_s, least_s) / 2 * random
        return min(max(backoff_s / 2, least_s) + spread_s, self.max_delay_s)
