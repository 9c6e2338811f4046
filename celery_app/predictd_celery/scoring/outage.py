"""A service that is away for a while, as one that restarts: how long a run waits for it.

Owns telling an outage from its end. It knows no service; the clock is passed in. The thread that runs the scoring.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from predictd_proto.errors import ScoreError

#: A Redis with a large append-only file reads it for a minute or two.
LONGEST_S = 180.0
_PAUSE_S = 0.2

Answer = TypeVar("Answer")


class AwayError(Exception):
    """The service is away; it makes sense to ask again."""


class Outage:
    """One service, and since when it is away.

    Args:
        name: What it is, for the text.
        errors: What asking it raises while it is away.
        longest_s: A run waits for so long.
        clock: Monotonic, in seconds.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self,
        name: str,
        errors: tuple[type[Exception], ...],
        *,
        longest_s: float = LONGEST_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._name, self.errors, self._longest_s = name, errors, longest_s
        self._clock, self._sleep = clock, sleep
        self._since_s: float | None = None

    def ask(self, call: Callable[[], Answer]) -> Answer:
        """Return what the service says.

        Raises:
            AwayError: It is away.
            ScoreError: It has been for too long.
        """
        try:
            answer = call()
        except self.errors as error:
            now_s = self._clock()
            self._since_s = now_s if self._since_s is None else self._since_s
            if now_s - self._since_s < self._longest_s:
                raise AwayError from error
            message = (
                f"{self._name} has been away for {now_s - self._since_s:.0f} s ({error}); what is done is kept: the "
                "same again goes on"
            )
            raise ScoreError(message) from error
        self._since_s = None
        return answer

    def wait_for(self, call: Callable[[], Answer]) -> Answer:
        """Return what the service says as soon as it is there.

        Raises:
            ScoreError: It has been away for too long.
        """
        while True:
            try:
                return self.ask(call)
            except AwayError:
                self._sleep(_PAUSE_S)
