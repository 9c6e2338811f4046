"""Retries: whether to ask again after a retryable error, and how long to wait first.

Owns the policy, and what is kept of one call's failures (`Tries`), for callers that sleep and for those that can't. It
knows no socket and reads no clock of its own: clock, sleep and random numbers are arguments. The caller's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from predictd.deadline import MAX_TIMEOUT_MS, Deadline
from predictd.routing.draws import draw
from predictd.wording import named, restated, without_wait
from predictd_proto.errors import (
    ConfigError,
    DeadlineExceededError,
    PredictdError,
    RetryableError,
    ServerLostError,
    ServerUnavailableError,
)
from predictd_proto.quantities import seconds_text


@dataclass(frozen=True)
class Retries:
    """How a call is repeated, always within its own deadline.

    A busy, loading or draining server is asked again until the deadline: nothing was run. After the loss of a server
    the request is sent again `resends` times only, because the request may be what brought it down; that a server which
    was just there comes back is waited for until the deadline. An endpoint where nobody answered in the first place is
    not tried again: connecting has its own time-out. Of several endpoints the next is asked at once; there is a pause
    only when all of them have failed.

    Attributes:
        resends: How often a request that a server took along is sent again.
        first_pause_ms: Longest pause before the first repetition; doubles with each one. Pauses are drawn evenly from
            zero up to that ("full jitter"), so that many callers don't come back at the same moment.
        most_pause_ms: Where the doubling ends. A server's own `retry_after_ms` is always waited for.

    Raises:
        ConfigError: One of them is no number, or below 0.
    """

    resends: int = 1
    first_pause_ms: float = 25.0
    most_pause_ms: float = 2_000.0

    def __post_init__(self) -> None:
        if type(self.resends) is not int or self.resends < 0:
            text = f"resends: expected a whole number of at least 0, got {named(self.resends)}"
            raise ConfigError(text)
        for name, value in (("first_pause_ms", self.first_pause_ms), ("most_pause_ms", self.most_pause_ms)):
            if type(value) not in {int, float} or not 0 <= value <= MAX_TIMEOUT_MS:
                text = f"{name}: expected a number of milliseconds from 0 up to {MAX_TIMEOUT_MS}, got {named(value)}"
                raise ConfigError(text)

    def pause_ms(self, error: PredictdError, repetition: int, draw: Callable[[], float]) -> float:
        """Return how long to wait before a repetition, in milliseconds.

        Args:
            error: What the last try ended with.
            repetition: 1 for the first one, and so on.
            draw: Returns a number from 0 up to 1.
        """
        longest_ms = min(self.most_pause_ms, self.first_pause_ms * 2.0 ** min(repetition - 1, 32))
        return float(error.retry_after_ms or 0) + draw() * longest_ms


class Tries:
    """How one call has failed so far, and what follows from it.

    Args:
        retries: The policy.
        deadline: Until when to go on.
        draw: Returns a number from 0 up to 1.
    """

    __slots__ = ("_deadline", "_draw", "_losses", "_repetitions", "_retries")

    def __init__(self, retries: Retries, deadline: Deadline, draw: Callable[[], float] = draw) -> None:
        self._retries = retries
        self._deadline = deadline
        self._draw = draw
        self._losses: list[ServerLostError] = []
        self._repetitions = 0

    def pause_ms(self, error: RetryableError) -> float | None:
        """Take note of a failure; return how long to wait before asking again, None where there is no point in it."""
        if isinstance(error, ServerLostError):
            self._losses.append(error)
        if len(self._losses) > self._retries.resends or not _is_worth_repeating(error, self._repetitions):
            return None
        pause_ms = self._retries.pause_ms(error, self._repetitions + 1, self._draw)
        if pause_ms >= self._deadline.remaining_ms:
            return None
        self._repetitions += 1
        return pause_ms

    def final(self, error: PredictdError) -> PredictdError:
        """Return the error that the caller gets after this last one: it says how often was tried, and why in vain."""
        if not self._repetitions:
            return error
        final = _final(error, self._losses, self._repetitions, self._deadline)
        final.__cause__ = error
        return final


def _is_worth_repeating(error: RetryableError, repetition: int) -> bool:
    if isinstance(error, DeadlineExceededError):
        return False
    return repetition > 0 or not isinstance(error, ServerUnavailableError)


def _final(error: PredictdError, losses: list[ServerLostError], repetition: int, deadline: Deadline) -> PredictdError:
    tried = f"given up after {repetition + 1} tries in {seconds_text(deadline.waited_ms)}"
    if losses and isinstance(error, ServerUnavailableError):
        return restated(losses[-1], f"{losses[-1].message}. Since then: {without_wait(error.message)} ({tried})")
    return restated(error, f"{without_wait(error.message)} ({tried})")
