"""The progress bar of `predict`, as Keras draws it.

Owns when it is shown and what it looks like. The caller's thread; the clock and the stream are arguments.
"""

from __future__ import annotations

import os
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

_BAR, _LINE = 1, 2
_MINUTE_S, _HOUR_S = 60, 3600


class ProgressBar:
    """Draws steps done.

    Where the stream is a terminal or a notebook it looks as Keras' does, byte for byte but for the numbers. Elsewhere
    (a pipe, a file, a worker's log) a bar is one plain line at the end, where Keras sends every drawing with its
    colours and backspaces.

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
        self._drawn_s: float | None = None
        self._done = 0
        # The first steps, which are slower than the others, and when they were over; a bar leaves them out.
        self._first: tuple[int, float] | None = None
        self._width = 0
        is_auto = verbose == "auto"
        may_draw = (is_auto or verbose in {_BAR, _LINE}) and _is_writable(self._stream) and total != 0
        self._is_live = may_draw and _is_live(self._stream)
        self._kind = 0 if not may_draw or (is_auto and not self._is_live) else _BAR if is_auto else verbose
        self._quiet_s = QUIET_S if is_auto else 0.0

    def reach(self, done: int) -> None:
        """Take note of how many steps are over."""
        if not self._kind or done == self._done:
            return
        self._done = done
        if self._kind != _BAR:
            return
        now_s = self._clock()
        if self._first is None:
            self._first = (done, now_s)
        if not self._is_live or now_s - self._started_s < self._quiet_s:
            return
        if self._drawn_s is None or now_s - self._drawn_s >= PAUSE_S:
            self._drawn_s = now_s
            self._draw(now_s)

    def close(self) -> None:
        """Draw the final state, where anything is to be drawn."""
        if not self._kind or not self._done or (self._drawn_s is None and self._quiet_s):
            return
        now_s = self._clock()
        self._total = self._total or self._done
        if self._kind == _LINE:
            self._write(f"{self._count()} - {now_s - self._started_s:.0f}s - {self._per_step(now_s)}\n")
        elif self._is_live:
            self._draw(now_s, is_last=True)
        else:
            self._write(f"{self._count()} {'━' * WIDTH} {now_s - self._started_s:.0f}s {self._per_step(now_s)}\n")

    def _draw(self, now_s: float, *, is_last: bool = False) -> None:
        elapsed_s = now_s - self._started_s
        if self._total is None:
            head, hidden = f"{self._done:7d}/Unknown", 0
        else:
            head, hidden = self._bar()
        left = f"{elapsed_s:.0f}s" if is_last or self._total is None else _time_left(self._left_s(now_s))
        text = f"{head} {_bold(left)} {self._per_step(now_s)}"
        width = len(text) - hidden - len(_bold(""))
        # The backspaces are for displays that don't take a carriage return for what it is.
        padding = " " * max(self._width - width, 0)
        newline = "\n" if is_last else ""
        self._write(f"{chr(8) * self._width}\r{text}{padding}{newline}")
        self._width = width

    def _bar(self) -> tuple[str, int]:
        """Return the bar with its count, and how many of its characters are no ink."""
        total = self._total or 1
        filled = min(WIDTH, WIDTH * self._done // total)
        done = f"\x1b[32m{'━' * filled}\x1b[0m" if filled else ""
        left = f"\x1b[37m{'━' * (WIDTH - filled)}\x1b[0m"
        head = f"{_bold(self._count())} {done}{left}"
        return head, len(head) - len(self._count()) - 1 - WIDTH

    def _count(self) -> str:
        digits = len(str(self._total))
        return f"{self._done:{digits}d}/{self._total}"

    def _left_s(self, now_s: float) -> float:
        return self._step_s(now_s) * max((self._total or 0) - self._done, 0)

    def _per_step(self, now_s: float) -> str:
        return f"{_duration(self._step_s(now_s))}/step"

    def _step_s(self, now_s: float) -> float:
        first_done, first_s = self._first or (0, self._started_s)
        if self._done > first_done:
            return (now_s - first_s) / (self._done - first_done)
        return (now_s - self._started_s) / max(self._done, 1)

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def _is_writable(stream: TextIO | None) -> bool:
    return stream is not None and not getattr(stream, "closed", False)


def _is_live(stream: TextIO) -> bool:
    """Whether a line on this stream can be drawn over: a terminal, a notebook, an editor's console."""
    # Standard output may be anything that can be written to.
    is_terminal = getattr(stream, "isatty", bool)
    return is_terminal() or (stream is sys.stdout and ("ipykernel" in sys.modules or "PYCHARM_HOSTED" in os.environ))


def _bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m"


def _time_left(seconds: float) -> str:
    whole = int(seconds)
    if seconds > _HOUR_S:
        return f"{whole // _HOUR_S}:{whole % _HOUR_S // _MINUTE_S:02d}:{whole % _MINUTE_S:02d}"
    if seconds > _MINUTE_S:
        return f"{whole // _MINUTE_S}:{whole % _MINUTE_S:02d}"
    return f"{whole}s"


def _duration(seconds: float) -> str:
    if seconds >= 1 or not seconds:
        return f"{seconds:.0f}s"
    return f"{seconds * 1e3:.0f}ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f}us"  # noqa: PLR2004
