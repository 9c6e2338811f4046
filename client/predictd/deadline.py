"""Deadlines: one instant on the monotonic clock, by which a call has returned or raised.

Owns the arithmetic of remaining and elapsed time and the check of a time-out. It waits for nothing. Any thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from time import monotonic

from predictd_proto.errors import ConfigError

Clock = Callable[[], float]

#: What a call may take, and what finding a server may take of that, where nobody says otherwise.
DEFAULT_TIMEOUT_MS = 30_000.0
DEFAULT_CONNECT_TIMEOUT_MS = 5_000.0

#: A month. Longer time-outs are mistakes (milliseconds taken for something else).
MAX_TIMEOUT_MS = 31 * 24 * 3600 * 1000


class Deadline:
    """An instant.

    Args:
        timeout_ms: How far away it is now.
        clock: Returns seconds, never goes back.
    """

    __slots__ = ("_clock", "_ends_s", "_started_s")

    def __init__(self, timeout_ms: float, clock: Clock = monotonic) -> None:
        self._clock = clock
        self._started_s = clock()
        self._ends_s = self._started_s + timeout_ms / 1000

    @property
    def ends_s(self) -> float:
        """The instant on the clock, in seconds."""
        return self._ends_s

    @property
    def remaining_ms(self) -> float:
        """Time left in milliseconds; 0 when it has passed."""
        left_s = self._ends_s - self._clock()
        return left_s * 1000 if left_s > 0 else 0.0

    @property
    def waited_ms(self) -> float:
        """Time since it was set, in milliseconds."""
        return (self._clock() - self._started_s) * 1000

    @property
    def is_over(self) -> bool:
        """Whether it has passed."""
        return self._clock() >= self._ends_s

    def sooner(self, timeout_ms: float) -> Deadline:
        """Return the deadline that is `timeout_ms` away, or as far as this one where that is nearer."""
        return Deadline(min(timeout_ms, self.remaining_ms), self._clock)


def check_timeout_ms(name: str, value: float) -> float:
    """Return a time-out in milliseconds.

    Raises:
        ConfigError: It is not a finite number above 0: nothing here ever waits without end.
    """
    return _checked(name, value, "milliseconds", MAX_TIMEOUT_MS)


def check_timeout_s(name: str, value: float) -> float:
    """Return a time-out of seconds in milliseconds.

    Raises:
        ConfigError: It is not a finite number above 0.
    """
    return _checked(name, value, "seconds", MAX_TIMEOUT_MS // 1000) * 1000


def _checked(name: str, value: float, unit: str, most: int) -> float:
    if type(value) not in {int, float} or not math.isfinite(value) or not 0 < value <= most:
        text = f"{name}: expected a number of {unit} above 0 and up to {most}, got {value!r}"
        raise ConfigError(text)
    return float(value)
