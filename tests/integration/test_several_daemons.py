"""Two real daemons behind one client: one drains, is killed, comes back; every call gets its right answer."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import predictd

pytestmark = pytest.mark.integration

CALLERS = 8


class Load:
    """Threads that ask without a pause until they are stopped."""

    def __init__(self, model: predictd.RemoteModel, x: np.ndarray, y: np.ndarray) -> None:
        self._model, self._x, self._y = model, x, y
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._answered = 0
        self._threads = ThreadPoolExecutor(CALLERS)
        self._calls = [self._threads.submit(self._call, caller) for caller in range(CALLERS)]

    def _call(self, caller: int) -> None:
        while not self._stop.is_set():
            np.testing.assert_allclose(
                self._model.predict(self._x[caller::8]), self._y[caller::8], rtol=1e-4, atol=1e-6
            )
            with self._changed:
                self._answered += 1
                self._changed.notify_all()

    def more(self, count: int) -> None:
        """Wait for some more answers."""
        with self._changed:
            goal = self._answered + count
            assert self._changed.wait_for(lambda: self._answered >= goal or self._is_over(), 60)
        assert not self._is_over(), [call.exception() for call in self._calls if call.done()]

    def end(self) -> None:
        """Stop; nothing may have failed."""
        self._stop.set()
        self._threads.shutdown()
        for call in self._calls:
            call.result(0)

    def _is_over(self) -> bool:
        return any(call.done() for call in self._calls)


def test_one_drains_and_one_is_killed_and_nobody_notices(start_daemon, run_directory, models, digits) -> None:
    path = models / "mlp.keras"
    first = start_daemon(path)
    second = start_daemon(path, endpoint=f"ipc://{run_directory}/q.sock")
    client = predictd.Client([first.endpoint, second.endpoint], timeout_ms=60_000)
    load = Load(predictd.RemoteModel("mlp", client=client), *digits)
    try:
        load.more(100)
        while not all(daemon.status().counters["requests_total"] for daemon in (first, second)):
            load.more(10)
        first.signal(signal.SIGTERM)
        assert first.wait() == 0
        load.more(100)
        first.start()
        while not first.status().counters["requests_total"]:
            load.more(10)
        second.kill()
        load.more(100)
        assert client.status().endpoint == first.endpoint
    finally:
        load.end()
        client.close()
    assert first.stop() == 0, first.log
