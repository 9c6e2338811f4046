"""A measurement that is told to end. Main thread."""

from __future__ import annotations

import signal
import sys


def end_on_sigterm() -> None:
    """Make SIGTERM an exception, so that every process that was started is ended; a second must not cut that short."""
    signal.signal(signal.SIGTERM, _end)


def _end(number: int, frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)
