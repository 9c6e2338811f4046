"""Fetches: plans that have to be asked for, and the requests that wait for them.

Owns that one fetch serves all who want the same plan, and that the fetch's own time-out is nobody's failure. The thread
that runs the exchange; the asking itself is a job.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from predictd.deadline import Clock, Deadline
from predictd.in_flight.driver import Driver
from predictd.requests.catalogue import Key, Plan
from predictd_proto.errors import DeadlineExceededError

if TYPE_CHECKING:
    from predictd.in_flight.pending import Pending
    from predictd.requests.link import Link


class Fetches:
    """One endpoint's.

    Args:
        link: The endpoint.
        driver: Runs the jobs.
        planned: Gets the server's id, the requests that still wait, and their plan or why there is none.
    """

    def __init__(
        self,
        link: Link,
        driver: Driver,
        planned: Callable[[str, list[Pending], Plan | None, BaseException | None], None],
    ) -> None:
        self._link = link
        self._driver = driver
        self._planned = planned
        self._waiting: dict[tuple[str, Key], list[Pending]] = {}

    def add(self, server_id: str, key: Key, pending: Pending) -> None:
        """Let a request wait for a plan."""
        waiting = self._waiting.get((server_id, key))
        if waiting is not None:
            waiting.append(pending)
            return
        self._waiting[server_id, key] = [pending]
        self._start(server_id, key)

    def has(self, server_id: str, key: Key) -> bool:
        """Whether requests wait for this plan. It may be remembered already: those who come now must not pass them."""
        return bool(self._waiting) and (server_id, key) in self._waiting

    def clear(self) -> None:
        """Forget who waits."""
        self._waiting.clear()

    def _start(self, server_id: str, key: Key) -> None:
        link = self._link

        def fetch(clock: Clock) -> Plan:
            return link.plan(server_id, key, Deadline(link.connect_timeout_ms, clock))[0]

        self._driver.start(fetch, lambda plan, error: self._fetched(server_id, key, plan, error))

    def _fetched(self, server_id: str, key: Key, plan: Plan | None, error: BaseException | None) -> None:
        waiting = [pending for pending in self._waiting.pop((server_id, key), ()) if not pending.is_done]
        if isinstance(error, DeadlineExceededError):
            # Whose own time is up is done; the others go on waiting. Answers are read as well as can be.
            readers = [pending for pending in waiting if pending.answer is not None]
            waiting = [pending for pending in waiting if pending.answer is None]
            if waiting:
                self._waiting[server_id, key] = waiting
                self._start(server_id, key)
            waiting = readers
        if error is not None:  # another thread may have got it meanwhile
            plan = self._link.known(server_id, key)
        self._planned(server_id, waiting, plan, error)
