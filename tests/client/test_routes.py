"""Which endpoint is chosen: load, circuits, probes; with a clock and random numbers of the test's own."""

from __future__ import annotations

import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictd.requests.link import Link
from predictd.routing.circuit import FIRST_MS, MOST_ABSENT_MS, MOST_REFUSED_MS, MOST_RETRY_AFTER_MS, PROBE_S, Circuit
from predictd.routing.routes import HALF_LIFE_S, ROWS_PER_SILENT_S, Routes
from predictd_proto.endpoints import parse_endpoints
from predictd_proto.errors import (
    DeadlineExceededError,
    ExpiredInQueueError,
    ModelNotReadyError,
    OverloadedError,
    PredictdError,
    PredictionError,
    ServerDrainingError,
    ServerLostError,
    ServerUnavailableError,
    TensorMismatchError,
)
from predictd_proto.messages import Receipt
from tests.client.fake_process import run_program

#: The largest number that is drawn, but for rounding.
LAST = 1 - 1e-9

GONE, BUSY = ServerUnavailableError("gone"), OverloadedError("busy")


class Clock:
    """Routes to some endpoints, whose time passes when the test says so."""

    def __init__(self, endpoints: int = 3, *, seed: int = 0, draw: float | None = None) -> None:
        self.now_s = 1000.0
        numbers = random.Random(seed)
        self.routes = Routes(
            parse_endpoints([f"tcp://h{position}:1" for position in range(endpoints)]),
            connect_timeout_ms=1000,
            clock=lambda: self.now_s,
            draw=numbers.random if draw is None else lambda: draw,
        )
        self.links = self.routes.links

    def queue(self, *rows: int) -> None:
        for link, count in zip(self.links, rows, strict=True):
            self.routes.answered(link, receipt(count))

    def open_all(self) -> None:
        for link in self.links:
            self.routes.failed(link, GONE)

    def chosen(self, count: int = 1, tried: tuple[Link, ...] = ()) -> Counter[int]:
        return Counter(self.links.index(self.routes.choose(tried)) for _ in range(count))


def receipt(queued_rows: int) -> Receipt:
    return Receipt(model="m", version=1, queued_rows=queued_rows)


def late(waited_ms: float, state: str = "waiting") -> DeadlineExceededError:
    return DeadlineExceededError("late", {"state": state, "waited_ms": waited_ms})


def test_one_endpoint_is_always_chosen_and_nothing_is_kept() -> None:
    clock = Clock(1)
    only = clock.links[0]
    for error in (GONE, BUSY, late(100)):
        clock.routes.failed(only, error)
    clock.routes.began(only, "request")
    clock.routes.answered(only, receipt(5))
    clock.routes.ended(only, "request")
    assert clock.routes.choose((only,)) is only
    assert not clock.routes._routes


def test_what_is_not_known_is_chosen_evenly() -> None:
    chosen = Clock().chosen(3000)
    assert all(800 < chosen[position] < 1200 for position in range(3))


def test_clients_that_know_as_little_as_each_other_do_not_all_take_the_first() -> None:
    first = Counter(next(iter(Clock(seed=seed).chosen())) for seed in range(300))
    assert all(first[position] > 60 for position in range(3))


def test_the_shortest_queue_is_chosen() -> None:
    clock = Clock()
    clock.queue(7, 3, 12)
    assert clock.chosen(50) == {1: 50}


def test_a_reading_is_worth_less_with_time() -> None:
    clock = Clock(2)
    clock.queue(8, 0)
    assert clock.chosen(20) == {1: 20}
    clock.routes.began(clock.links[1], "mine")
    assert clock.chosen(20) == {1: 20}
    for request in ("a", "b", "c"):
        clock.routes.began(clock.links[1], request)
    clock.routes.answered(clock.links[1])
    assert clock.chosen(20) == {1: 20}  # 4 of ours against 8 that wait
    clock.now_s += 2 * HALF_LIFE_S
    clock.routes.answered(clock.links[1])
    assert clock.chosen(20) == {0: 20}  # 4 of ours against 2 that still count


def test_a_reading_that_has_faded_makes_no_difference() -> None:
    clock = Clock(2)
    clock.queue(5, 0)
    clock.now_s += 10 * HALF_LIFE_S
    assert set(clock.chosen(50)) == {0, 1}


def test_own_requests_in_progress_count_until_they_end() -> None:
    clock = Clock(2)
    clock.routes.began(clock.links[0], "mine")
    assert clock.chosen(20) == {1: 20}
    clock.routes.ended(clock.links[0], "mine")
    clock.routes.ended(clock.links[0], "mine")
    assert set(clock.chosen(50)) == {0, 1}


def test_a_silent_endpoint_gets_no_more_while_others_talk() -> None:
    clock = Clock(2)
    clock.queue(0, 0)
    clock.routes.began(clock.links[0], "stuck")
    clock.now_s += 1.0
    clock.queue(0, int(ROWS_PER_SILENT_S) // 2)
    clock.routes._known()[clock.links[0]].heard_s = clock.now_s - 1.0
    assert clock.chosen(20) == {1: 20}
    clock.routes.ended(clock.links[0], "stuck")
    assert clock.chosen(20) == {0: 20}


@pytest.mark.parametrize(
    "error",
    [
        GONE,
        BUSY,
        ServerLostError("lost"),
        ServerDrainingError("draining"),
        ModelNotReadyError("loading"),
        late(100),
        late(0, "connecting"),
    ],
    ids=lambda error: error.code,
)
def test_errors_that_open_a_circuit(error: PredictdError) -> None:
    clock = Clock(2)
    clock.routes.failed(clock.links[0], error)
    assert clock.chosen(50) == {1: 50}


@pytest.mark.parametrize(
    "error",
    [
        PredictionError("raised"),
        TensorMismatchError("shape"),
        ExpiredInQueueError("late"),
        late(100, "preparing"),
        DeadlineExceededError("of a server", {"state": 3, "waited_ms": "long"}),
    ],
    ids=lambda error: error.code,
)
def test_errors_that_do_not(error: PredictdError) -> None:
    clock = Clock(2)
    clock.routes.failed(clock.links[0], error)
    assert set(clock.chosen(50)) == {0, 1}


def test_a_time_out_at_a_server_that_answers_others_opens_nothing() -> None:
    clock = Clock(2)
    clock.now_s += 0.5
    clock.routes.answered(clock.links[0])
    clock.now_s += 0.1
    clock.routes.failed(clock.links[0], late(300))
    assert set(clock.chosen(50)) == {0, 1}
    clock.now_s += 0.5
    clock.routes.failed(clock.links[0], late(300))
    assert clock.chosen(50) == {1: 50}


def due_after_ms(clock: Clock, position: int = 0) -> float:
    circuit = clock.routes._known()[clock.links[position]].circuit
    assert circuit is not None
    return (circuit.due_s - clock.now_s) * 1000


def fail_when_due(clock: Clock, error: PredictdError) -> float:
    clock.routes.failed(clock.links[0], error)
    after_ms = due_after_ms(clock)
    clock.now_s += after_ms / 1000
    assert clock.routes.choose() is clock.links[0]
    return round(after_ms, 6)


@pytest.mark.parametrize(("error", "most_ms"), [(GONE, MOST_ABSENT_MS), (BUSY, MOST_REFUSED_MS)])
def test_the_back_off_doubles_up_to_a_bound(error: PredictdError, most_ms: float) -> None:
    clock = Clock(2, draw=LAST)
    pauses_ms = [fail_when_due(clock, error) for _ in range(12)]
    assert pauses_ms == pytest.approx([min(FIRST_MS * 2**n, most_ms) for n in range(12)])


def test_the_back_off_is_drawn_from_half_of_it_up() -> None:
    for draw, expected_ms in ((0.0, FIRST_MS / 2), (0.5, FIRST_MS * 0.75)):
        clock = Clock(2, draw=draw)
        assert fail_when_due(clock, GONE) == expected_ms


def test_a_servers_own_estimate_is_added_and_bounded() -> None:
    for estimate_ms, expected_ms in ((700, 750), (10**12, MOST_RETRY_AFTER_MS + 50)):
        clock = Clock(2, draw=0.0)
        assert fail_when_due(clock, OverloadedError("busy", {"retry_after_ms": estimate_ms})) == expected_ms


def test_an_answer_closes_the_circuit_and_the_back_off_begins_anew() -> None:
    clock = Clock(2, draw=LAST)
    for _ in range(5):
        fail_when_due(clock, GONE)
    clock.routes.answered(clock.links[0], receipt(0))
    clock.queue(0, 1)
    assert clock.chosen(20) == {0: 20}
    assert fail_when_due(clock, GONE) == pytest.approx(FIRST_MS)


def test_a_refusal_stands_until_it_is_due_whoever_was_let_in_before() -> None:
    clock = Clock(2, draw=LAST)
    clock.routes.failed(clock.links[0], OverloadedError("busy", {"retry_after_ms": 500}))
    clock.now_s += 0.3
    clock.routes.answered(clock.links[0], receipt(0))
    assert clock.chosen(20) == {1: 20}
    clock.now_s += 0.4
    clock.queue(0, 1)
    assert clock.chosen(20) == {0: 20}


def test_further_failures_before_it_is_due_change_nothing() -> None:
    clock = Clock(2, draw=LAST)
    for _ in range(64):  # all the requests that a lost server had
        clock.routes.failed(clock.links[0], ServerLostError("lost"))
    assert due_after_ms(clock) == pytest.approx(FIRST_MS)
    clock.routes.failed(clock.links[0], OverloadedError("busy", {"retry_after_ms": 900}))
    assert due_after_ms(clock) == pytest.approx(900)


def test_one_request_probes() -> None:
    clock = Clock(2, draw=LAST)
    clock.routes.failed(clock.links[0], GONE)
    assert clock.chosen(10) == {1: 10}
    clock.now_s += FIRST_MS / 1000
    assert clock.chosen() == {0: 1}
    assert clock.chosen(10) == {1: 10}


def test_a_probe_that_says_nothing_makes_room_for_another() -> None:
    clock = Clock(2, draw=LAST)
    clock.routes.failed(clock.links[0], GONE)
    clock.now_s += FIRST_MS / 1000
    assert clock.chosen() == {0: 1}
    clock.now_s += PROBE_S
    assert clock.chosen(10) == {0: 1, 1: 9}


def test_of_threads_that_ask_at_once_one_probes() -> None:
    callers = 16
    together = threading.Barrier(callers)

    def ask(routes: Routes) -> Link:
        together.wait(30)
        return routes.choose()

    with ThreadPoolExecutor(callers) as threads:
        for _ in range(50):
            clock = Clock(2, draw=LAST)
            clock.routes.failed(clock.links[0], GONE)
            clock.now_s += 1
            chosen = Counter(threads.map(ask, [clock.routes] * callers))
            assert chosen == {clock.links[0]: 1, clock.links[1]: callers - 1}


def test_when_all_are_open_the_one_due_soonest_is_asked() -> None:
    clock = Clock(3, draw=LAST)
    for position, estimate_ms in enumerate((900, 300, 600)):
        clock.routes.failed(clock.links[position], OverloadedError("busy", {"retry_after_ms": estimate_ms}))
    assert clock.chosen(5) == {1: 5}
    assert clock.chosen(5, (clock.links[1],)) == {2: 5}


def test_those_tried_are_passed_over_as_long_as_there_are_others() -> None:
    clock = Clock(3)
    clock.routes.failed(clock.links[2], GONE)
    assert clock.chosen(5, clock.links[:2]) == {2: 5}
    assert set(clock.chosen(50, clock.links)) == {0, 1}


def test_a_child_process_begins_with_a_view_of_its_own() -> None:
    program = """
import os
from tests.client.test_routes import GONE, Clock
clock = Clock(2)
clock.routes.failed(clock.links[0], GONE)
clock.routes.began(clock.links[1], "the parent's")
pid = os.fork()
if pid == 0:
    os._exit(0 if set(clock.chosen(100)) == {0, 1} else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert clock.chosen(20) == {1: 20}
"""
    ran = run_program(program)
    assert ran.returncode == 0, ran.stderr


ERRORS = [
    GONE,
    BUSY,
    ServerLostError("lost"),
    late(10),
    PredictionError("raised"),
    OverloadedError("b", {"retry_after_ms": 70}),
]
EVENTS = st.one_of(
    st.tuples(st.just("failed"), st.integers(0, 3), st.sampled_from(ERRORS)),
    st.tuples(st.just("answered"), st.integers(0, 3), st.integers(0, 1000)),
    st.tuples(st.just("began"), st.integers(0, 3), st.integers(0, 5)),
    st.tuples(st.just("ended"), st.integers(0, 3), st.integers(0, 5)),
    st.tuples(st.just("pass"), st.floats(0, 30), st.none()),
    st.tuples(st.just("choose"), st.sets(st.integers(0, 3)), st.none()),
)


@given(st.lists(EVENTS, max_size=40), st.integers(1, 4), st.integers(0, 99))
@settings(deadline=None)
def test_there_is_always_a_link_and_none_is_forgotten_for_good(events: list, count: int, seed: int) -> None:
    clock = Clock(count, seed=seed)
    routes, links = clock.routes, clock.links
    for kind, where, what in events:
        if kind == "pass":
            clock.now_s += where
        elif kind == "choose":
            tried = tuple(link for position, link in enumerate(links) if position in where)
            chosen = routes.choose(tried)
            assert chosen in links
            assert chosen not in tried or len(tried) == count
        elif where < count:
            link = links[where]
            if kind == "failed":
                routes.failed(link, what)
            elif kind == "answered":
                routes.answered(link, receipt(what))
            else:
                getattr(routes, kind)(link, what)
    # Whatever has happened: once every request has ended and all is quiet, each endpoint gets its turn again.
    for link in links:
        for request in range(6):
            routes.ended(link, request)
    clock.now_s += 200
    seen = set()
    for _ in range(200):
        chosen = routes.choose()
        routes.answered(chosen, receipt(0))
        seen.add(chosen)
    assert seen == set(links)


@given(st.lists(st.tuples(st.sampled_from(ERRORS[:3]), st.floats(0, 20), st.floats(0, 1)), min_size=1))
def test_no_back_off_goes_past_its_bound(failures: list[tuple[PredictdError, float, float]]) -> None:
    circuit, now_s = None, 0.0
    for error, later_s, draw in failures:
        now_s += later_s
        circuit = Circuit.after(error, circuit, now_s, draw)
        assert now_s <= circuit.due_s <= now_s + MOST_ABSENT_MS / 1000
