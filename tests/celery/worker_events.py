"""What a worker tells monitors such as Flower (`celery worker -E`), collected while a test runs."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

from tests.celery.worker_process import WorkerProcess


class Events:
    """What a monitor such as Flower is told."""

    def __init__(self, worker: WorkerProcess) -> None:
        self.seen: list[dict[str, Any]] = []
        self._worker = worker
        self._ready = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._capture)

    def _capture(self) -> None:
        with self._worker.app.connection() as connection:
            receiver = self._worker.app.events.Receiver(connection, handlers={"*": self.seen.append})
            with receiver.consumer_context() as (mine, _, _):
                while not self._stopped.is_set():
                    with contextlib.suppress(TimeoutError):
                        mine.drain_events(timeout=0.1)
                    # Not before: kombu subscribes in Redis when it first looks for events, and Redis keeps none.
                    self._ready.set()

    def __enter__(self) -> Events:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopped.set()
        self._thread.join()

    def of(self, result: Any, kind: str) -> dict[str, Any]:
        def found() -> list[dict[str, Any]]:
            return [event for event in self.seen if event.get("uuid") == result.id and event["type"] == kind]

        self._worker.wait_until(lambda: bool(found()), f"{kind} of {result.id}")
        return found()[0]
