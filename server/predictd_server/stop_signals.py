"""Stop signals: SIGTERM and SIGINT from the first moment on, and the wait that they end.

Owns the handlers. They run on the main thread wherever it is at that moment, so they take no lock and write no log:
they note the signal and wake who waits. Main thread; `stop` is any thread's.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable
from types import FrameType

NUMBERS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Whether the process was told to stop.

    Attributes:
        received: The first signal; None where there was none.
        before_exit: Called before a second signal ends the process at once.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.before_exit: Callable[[], None] = lambda: None
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def catch(self) -> None:
        """Handle the signals from now on. Main thread."""
        for number in NUMBERS:
            signal.signal(number, self._on_signal)

    def stop(self) -> None:
        """End the wait, as a signal does. Any thread."""
        with contextlib.suppress(BlockingIOError):  # a full pipe ends it as well
            os.write(self._writer, b".")

    def wait(self, timeout_s: float) -> bool:
        """Wait for a stop; return whether there was one, now or before."""
        return bool(select.select([self._reader], [], [], timeout_s)[0])

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.received is not None:
            # Told twice: whoever asks does not want to wait for the drain.
            self.before_exit()
            os._exit(128 + number)
        self.received = signal.Signals(number)
        self.stop()
