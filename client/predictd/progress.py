"""The progress bar of `predict`, as Keras draws it.

Owns when it is shown and what it looks like. The caller's thread; the clock and the stream are arguments.
"""

from __future__ import annotations

import sys
from time import monotonic
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from predictd.deadline import Clock

WIDTH = 20

#: "auto" shows nothing for work that is over before one has looked.
QUIET_S = 0.5

#: Between two drawings.
PAUSE_S = 0.05


class ProgressBar:
    """Draws steps done.

    Args:
        total: Steps in all; None where that isn't known.
        verbose: As Keras: 0 silent, 1 a bar, 2 one line at the end; "auto" a bar where a person watches long work.
        stream: Where to draw; None for standard output.
        clock: Returns seconds.
    """

    def __init__(
        self, total: int | None, verbose: str | int = "auto", *, stream: TextIO | None = None, clock: Clock = monotonic
    ) -> None:
        self._total = total
        self._stream = sys.stdout if stream is None else stream
        self._clock = clock
        self._started_s = clock()
        self._drawn_s = -1.0
        self._done = 0
        self._has_drawn = False
        self._is_terminal = self._stream is not None and self._stream.isatty()
        is_auto = verbose == "auto"
        self._is_silent = (
            self._stream is None or str(verbose) == "0" or (is_auto and (total == 1 or not self._is_terminal))
        )
        self._draws_steps = self._is_terminal and verbose != 2  # noqa: PLR2004  (Keras' own numbers)
        self._quiet_s = QUIET_S if is_auto else 0.0

    def step(self) -> None:
        """Count one step."""
        self._done += 1
        if self._is_silent or not self._draws_steps:
            return
        now_s = self._clock()
        if now_s - self._started_s >= self._quiet_s and now_s - self._drawn_s >= PAUSE_S:
            self._drawn_s = now_s
            self._draw("\r")

    def close(self) -> None:
        """Draw the final state, where anything is to be drawn."""
        if self._is_silent or not (self._has_drawn or not self._quiet_s):
            return
        self._draw("\r" if self._has_drawn else "", end="\n")

    def _draw(self, start: str, end: str = "") -> None:
        self._has_drawn = True
        elapsed_s = self._clock() - self._started_s
        per_step_s = elapsed_s / max(self._done, 1)
        if self._total is None or self._done >= self._total:
            left = f"{elapsed_s:.0f}s"
        else:
            left = f"{per_step_s * (self._total - self._done):.0f}s"
        count = f"{self._done}/{'Unknown' if self._total is None else self._total}"
        if self._total is not None:
            count = count.rjust(2 * len(str(self._total)) + 1)
        text = f"{self._bold(count)} {self._bar()} {self._bold(left)} {_duration(per_step_s)}/step"
        self._stream.write(f"{start}{text}{'  ' if start else ''}{end}")
        self._stream.flush()

    def _bar(self) -> str:
        filled = WIDTH if self._total is None else min(WIDTH, WIDTH * self._done // max(self._total, 1))
        if not self._is_terminal:
            return "━" * filled
        return f"\x1b[32m{'━' * filled}\x1b[0m\x1b[37m{'━' * (WIDTH - filled)}\x1b[0m"

    def _bold(self, text: str) -> str:
        return f"\x1b[1m{text}\x1b[0m" if self._is_terminal else text


def _duration(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.0f}s"
    return f"{seconds * 1e3:.0f}ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f}us"  # noqa: PLR2004
