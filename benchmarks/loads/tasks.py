"""Callers as tasks: one `AsyncClient` in one event loop, as an asyncio program has it.

Owns the loop, which runs only while callers ask. One thread at a time.
"""

from __future__ import annotations

import asyncio
import time

import predictd
from benchmarks.loads.calls import ANSWER_TIMEOUT_MS, Record, sleep_until
from benchmarks.workloads import Workload


class Tasks:
    """Tasks that ask for one row, on and on."""

    def __init__(self, endpoint: str, workload: Workload) -> None:
        self._loop = asyncio.new_event_loop()
        self._client = predictd.AsyncClient(endpoint)
        self._name = workload.name
        self._row = workload.row()
        self.closed(1, 0.0, 0.0)

    def closed(self, tasks: int, first_s: float, end_s: float) -> Record:
        """Have so many tasks ask from one time to another; return when each call was answered, and how long it took."""
        record: Record = ([], [])
        sleep_until(first_s)
        self._loop.run_until_complete(self._all(tasks, end_s, record))
        return record

    async def _all(self, tasks: int, end_s: float, record: Record) -> None:
        await asyncio.gather(*(self._ask(end_s, record) for _ in range(tasks)))

    async def _ask(self, end_s: float, record: Record) -> None:
        ends, took = record
        before = 0.0
        while not before or before < end_s:
            before = time.monotonic()
            await self._client.predict(self._name, self._row, timeout_ms=ANSWER_TIMEOUT_MS)
            after = time.monotonic()
            ends.append(after)
            took.append(after - before)
            before = after
