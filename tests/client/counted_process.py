"""A fake server's process that says how often it was asked, also while nobody listens to what it notes."""

from __future__ import annotations

import threading

from tests.client.fake_process import FakeProcess


class CountedProcess(FakeProcess):
    """A `fake_server` process whose notes are read by a thread: unread, they would fill the pipe and stop it."""

    def __init__(self, endpoint: str, *flags: str) -> None:
        super().__init__(endpoint, *flags)
        self._count = 0
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> CountedProcess:
        return self

    @property
    def asked(self) -> int:
        """Predict requests so far."""
        with self._changed:
            return self._count

    def wait_for_requests(self, count: int = 1) -> None:
        """Wait until it was asked so often in all."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._count >= count, 60), f"asked {self._count} times, not {count}"

    def kill(self) -> None:
        """Kill it, and read what it said to the end."""
        self._process.kill()
        self._reader.join(30)
        super().kill()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("predict"):
                with self._changed:
                    self._count += 1
                    self._changed.notify_all()
