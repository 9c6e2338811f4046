"""A bell: a descriptor that one thread makes readable for another.

Owns its pipe. It never reads what was not written, so it works where an event loop patched `os.read` to wait. Any
thread; of other processes than its own it takes no notice.
"""

from __future__ import annotations

import os
import threading

from predictd.process import this_process


class Bell:
    """Rings until it is silenced.

    Attributes:
        descriptor: Readable while it rings.
    """

    def __init__(self) -> None:
        self.descriptor: int
        self.descriptor, self._writer = os.pipe()
        self._process = this_process()
        # Also for this: who rings while it is closed must not write to whatever got its descriptor.
        self._lock = threading.Lock()
        self._is_ringing = False
        self._is_closed = False

    def ring(self) -> None:
        """Make the descriptor readable."""
        if self._process is this_process():
            with self._lock:
                if not self._is_ringing and not self._is_closed:
                    self._is_ringing = True
                    os.write(self._writer, b"!")

    def silence(self) -> None:
        """Make it unreadable."""
        with self._lock:
            if self._is_ringing and not self._is_closed:
                self._is_ringing = False
                os.read(self.descriptor, 1)

    def close(self) -> None:
        """Give the descriptors back."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                os.close(self.descriptor)
                os.close(self._writer)
