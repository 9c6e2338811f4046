"""Any order of asking, answering, losing, cancelling and waiting: every request ends once, with its own answer."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import predictd
from predictd.in_flight.channel import MOST_IN_FLIGHT
from predictd.in_flight.pending import Pending
from predictd.routing.retries import Retries
from tests.client.exchange_bench import Bench, BenchConnection, value_of
from tests.client.fake_server import answer

POSITION = st.integers(0, 10_000)
EXPECTED = (
    predictd.DeadlineExceededError,
    predictd.OverloadedError,
    predictd.ServerLostError,
    predictd.ServerUnavailableError,
)


class Interleavings(RuleBasedStateMachine):
    """A bench, moved at random."""

    @initialize(max_in_flight=st.sampled_from([1, 3, 64, 70]), resends=st.sampled_from([None, 0, 2]))
    def begin(self, max_in_flight: int, resends: int | None) -> None:
        self.retries = None if resends is None else Retries(resends=resends)
        self.bench = Bench(max_in_flight=max_in_flight, retries=self.retries)
        self.max_in_flight = max_in_flight
        self.asked: dict[int, Pending] = {}
        self.cancelled: set[int] = set()
        self.late: list[tuple[BenchConnection, Any]] = []

    def _alive(self) -> list[BenchConnection]:
        return [c for c in self.bench.connections if not c.is_closed]

    def _waiting(self) -> list[tuple[BenchConnection, Any]]:
        return [(c, request) for c in self._alive() for request in c.waiting]

    @rule(count=st.integers(1, 40), timeout_ms=st.sampled_from([5.0, 300.0, 60_000.0]))
    def ask(self, count: int, timeout_ms: float) -> None:
        for _ in range(count):
            number = len(self.asked)
            self.asked[number] = self.bench.ask(number, timeout_ms=timeout_ms)

    @rule(position=POSITION)
    def cancel(self, position: int) -> None:
        if self.asked:
            number = position % len(self.asked)
            if not self.asked[number].is_done:
                self.cancelled.add(number)
            self.bench.exchange.cancel(self.asked[number])

    @rule(position=POSITION, is_read=st.booleans())
    def answer(self, position: int, is_read: bool) -> None:
        waiting = self._waiting()
        if waiting:
            connection, request = waiting[position % len(waiting)]
            connection.reply(answer(request))
        if is_read:
            self.bench.read()

    @rule(position=POSITION)
    def answer_late(self, position: int) -> None:
        given_up = [(c, request) for c in self._alive() for request in c.requests.values() if request.id in c.cancelled]
        if given_up:
            connection, request = given_up[position % len(given_up)]
            connection.reply(answer(request))
        self.bench.read()

    @rule(position=POSITION)
    def refuse(self, position: int) -> None:
        waiting = self._waiting()
        if waiting:
            connection, request = waiting[position % len(waiting)]
            connection.refuse(request, "overloaded", retry_after_ms=position % 700)
            self.bench.read()

    @rule(position=POSITION, is_read=st.booleans(), is_restarted=st.booleans())
    def lose(self, position: int, is_read: bool, is_restarted: bool) -> None:
        alive = self._alive()
        if alive:
            alive[position % len(alive)].is_lost = True
        if is_restarted:
            self.bench.server_id = str(position)
        if is_read:
            self.bench.read()

    @rule(is_there=st.booleans())
    def server_comes_or_goes(self, is_there: bool) -> None:
        error = None if is_there else predictd.ServerUnavailableError("nobody")
        self.bench.connect_error = self.bench.fetch_error = error

    @rule()
    def run_jobs(self) -> None:
        for _ in range(len(self.bench.jobs)):
            self.bench.run_job()

    @rule(seconds=st.sampled_from([0.0, 0.02, 1.0]))
    def advance(self, seconds: float) -> None:
        self.bench.advance(seconds)

    @invariant()
    def nothing_is_mixed_up(self) -> None:
        if not hasattr(self, "bench"):
            return
        assert len(set(map(id, self.bench.done))) == len(self.bench.done)
        assert self.bench.exchange.in_flight <= self.max_in_flight
        for connection in self._alive():
            assert len(connection.waiting) <= MOST_IN_FLIGHT
        done = set(map(id, self.bench.done))
        for number, pending in self.asked.items():
            assert pending.is_done == (id(pending) in done or number in self.cancelled)
            if id(pending) in done:
                assert number not in self.cancelled
                if pending.error is None:
                    assert value_of(pending) == 2 * number
                else:
                    assert isinstance(pending.error, EXPECTED), pending.error

    def teardown(self) -> None:
        """Let the server be there and answer: then all of them end, by their deadlines at the latest."""
        if not hasattr(self, "bench"):
            return
        self.server_comes_or_goes(True)
        for _ in range(400):
            self.run_jobs()
            self.bench.answer_all()
            if self.bench.exchange.is_idle:
                break
            self.bench.advance(0.2)
        self.nothing_is_mixed_up()
        assert self.bench.exchange.is_idle
        assert all(pending.is_done for pending in self.asked.values())
        assert self.bench.exchange.next_turn_s() is None
        watched = {connection.fileno() for connection in self._alive()}
        assert self.bench.watched == watched


Interleavings.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestInterleavings = Interleavings.TestCase
