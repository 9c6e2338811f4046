"""How one call goes on from endpoint to endpoint; nobody is asked, and time passes by pausing only."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictd.deadline import Deadline
from predictd.routing.failover import FIRST_PAUSE_MS, FIRST_SHARE_MS, MOST_PAUSE_MS, Failover
from predictd.routing.retries import Retries
from predictd.routing.routes import Routes
from predictd_proto.endpoints import parse_endpoints
from predictd_proto.errors import (
    DeadlineExceededError,
    ExpiredInQueueError,
    ModelNotFoundError,
    ModelNotReadyError,
    OverloadedError,
    PredictdError,
    ServerDrainingError,
    ServerLostError,
    ServerUnavailableError,
    TensorMismatchError,
    VersionNotFoundError,
)

GONE = ServerUnavailableError("nobody there", {"is_listening": False})
SILENT = ServerUnavailableError("silence there", {"is_listening": True})
LOST, UNSENT = ServerLostError("lost", {"was_sent": True}), ServerLostError("lost", {"was_sent": False})
BUSY, LOADING, DRAINING = OverloadedError("busy"), ModelNotReadyError("loading"), ServerDrainingError("draining")

NO_MODEL, NO_VERSION = ModelNotFoundError("no model"), VersionNotFoundError("no version")


class Trip:
    """A call that fails as told, then succeeds; it notes where it went and which pauses it made."""

    def __init__(
        self,
        *failures: PredictdError,
        endpoints: int = 2,
        timeout_ms: float = 60_000,
        connect_timeout_ms: float = 5000,
        takes_ms: float = 0,
    ) -> None:
        self.failures = list(failures)
        self.now_s = 0.0
        self.takes_ms = takes_ms
        self.asked: list[str] = []
        self.shares_ms: list[float] = []
        self.pauses_ms: list[float] = []
        self.deadline = Deadline(timeout_ms, self.clock)
        listed = parse_endpoints([f"tcp://{chr(ord('a') + position)}:1" for position in range(endpoints)])
        self.routes = Routes(listed, connect_timeout_ms=connect_timeout_ms, clock=self.clock, draw=lambda: 0.0)

    def clock(self) -> float:
        return self.now_s

    def run(self, retries: Retries | None = Retries(), *, is_reading: bool = False) -> str:  # noqa: B008
        failover = Failover(self.routes, retries, self.deadline, is_reading=is_reading, draw=lambda: 1.0)
        while True:
            link = failover.link()
            self.asked.append(link.endpoint.data[6])
            self.shares_ms.append(link.connect_timeout_ms)
            self.now_s += self.takes_ms / 1000
            if not self.failures:
                failover.answered()
                return self.asked[-1]
            pause_ms = failover.failed(self.failures.pop(0))
            if pause_ms:
                self.pauses_ms.append(round(pause_ms, 6))
                self.now_s += pause_ms / 1000

    def fails(self, kind: type[PredictdError], retries: Retries | None = Retries()) -> PredictdError:  # noqa: B008
        with pytest.raises(kind) as caught:
            self.run(retries)
        assert type(caught.value) is kind
        assert not any(route.under_way for route in self.routes._routes.values())
        return caught.value


@pytest.mark.parametrize(
    "error", [GONE, SILENT, LOST, UNSENT, BUSY, LOADING, DRAINING], ids=lambda error: f"{error.code} {error.detail}"
)
def test_a_retryable_error_goes_to_the_next_at_once(error: PredictdError) -> None:
    trip = Trip(error)
    assert trip.run() == "b"
    assert (trip.asked, trip.pauses_ms) == (["a", "b"], [])


def test_later_calls_go_where_it_worked() -> None:
    trip = Trip(GONE)
    assert trip.run() == "b"
    assert [trip.run() for _ in range(5)] == ["b"] * 5


def test_a_model_is_not_served_when_all_say_so() -> None:
    trip = Trip(NO_MODEL)
    assert trip.run(None) == "b"
    assert (trip.asked, trip.pauses_ms) == (["a", "b"], [])
    trip = Trip(NO_MODEL, NO_VERSION, NO_MODEL, endpoints=3)
    error = trip.fails(VersionNotFoundError)
    assert (trip.asked, trip.pauses_ms) == (["a", "b", "c"], [])
    assert all(text in str(error) for text in ("3 endpoints failed: tcp://a:1: no model", "tcp://b:1: no version"))
    assert Trip(NO_MODEL, endpoints=1).fails(ModelNotFoundError) is NO_MODEL


def test_one_that_is_not_there_may_serve_what_another_does_not() -> None:
    trip = Trip(NO_MODEL, GONE, NO_MODEL, GONE)
    assert trip.run(None) == "a"
    assert len(trip.asked) == 5
    trip = Trip(*[NO_MODEL, GONE] * 1000, connect_timeout_ms=1000)
    trip.fails(ServerUnavailableError)
    assert 900 <= sum(trip.pauses_ms) <= 1000


def test_a_busy_one_may_serve_what_another_does_not() -> None:
    trip = Trip(NO_MODEL, BUSY)
    trip.run()
    assert (trip.asked[:2], len(trip.asked), len(trip.pauses_ms)) == (["a", "b"], 3, 1)
    assert Trip(NO_MODEL, BUSY).fails(OverloadedError, None).detail["endpoints"] == {
        "tcp://a:1": "model_not_found",
        "tcp://b:1": "overloaded",
    }


def test_a_permanent_error_is_the_callers() -> None:
    error = TensorMismatchError("shape")
    trip = Trip(BUSY, error)
    assert trip.fails(TensorMismatchError) is error


@pytest.mark.parametrize("late", [DeadlineExceededError("late"), ExpiredInQueueError("late")])
def test_a_time_out_ends_it_and_tells_where_the_time_went(late: PredictdError) -> None:
    assert Trip(late).fails(type(late)) is late
    assert "late. Before that: nobody there" in str(Trip(GONE, late).fails(type(late)))


def test_a_lost_request_is_sent_again_as_often_as_allowed_wherever() -> None:
    assert Trip(LOST, endpoints=3).run() == "b"
    error = Trip(LOST, LOST, endpoints=3).fails(ServerLostError)
    assert str(error) == "2 endpoints failed: tcp://a:1: lost; tcp://b:1: lost"
    assert error.detail["endpoints"] == {"tcp://a:1": "server_lost", "tcp://b:1": "server_lost"}
    assert Trip(LOST, LOST, endpoints=3).run(Retries(resends=2)) == "c"
    assert Trip(LOST, UNSENT, GONE, endpoints=3).run() in {"a", "b", "c"}


def test_without_retries_nothing_is_sent_twice_but_endpoints_that_cannot_be_reached_are_passed_over() -> None:
    assert Trip(GONE).run(None) == "b"
    assert Trip(UNSENT).run(None) == "b"
    for error in (LOST, BUSY, LOADING, DRAINING):
        trip = Trip(error)
        assert trip.fails(type(error), None) is error
        assert trip.asked == ["a"]
    assert "nobody there" in str(Trip(GONE, BUSY).fails(OverloadedError, None))


def test_when_all_refuse_there_is_a_pause_and_another_round() -> None:
    trip = Trip(BUSY, BUSY, BUSY, DRAINING)
    trip.run()
    assert len(trip.asked) == 5
    assert trip.pauses_ms == [25, 50]


def test_of_several_estimates_the_soonest_counts() -> None:
    trip = Trip(OverloadedError("busy", {"retry_after_ms": 900}), OverloadedError("busy", {"retry_after_ms": 300}))
    assert trip.run() == "b"
    assert trip.pauses_ms == [325]


def test_no_pause_goes_past_the_deadline() -> None:
    error = Trip(*[BUSY] * 100, timeout_ms=500).fails(OverloadedError)
    assert "2 endpoints failed" in str(error)
    assert "given up after 5 rounds in 375 ms" in str(error)


def test_nobody_anywhere_is_waited_for_as_long_as_connecting_may_take() -> None:
    trip = Trip(*[GONE] * 1000, connect_timeout_ms=5000)
    error = trip.fails(ServerUnavailableError)
    assert trip.now_s == pytest.approx(5.0)
    assert trip.pauses_ms[0] == FIRST_PAUSE_MS
    assert max(trip.pauses_ms) == MOST_PAUSE_MS
    assert "tcp://a:1: nobody there; tcp://b:1: nobody there (given up after" in str(error)
    assert Trip(*[GONE] * 9).run() in {"a", "b"}
    assert Trip(*[GONE] * 9).run(None) in {"a", "b"}


def test_a_server_that_was_there_is_waited_for_until_the_deadline() -> None:
    trip = Trip(BUSY, *[GONE] * 20, connect_timeout_ms=500)
    trip.run()
    assert trip.now_s > 5


def test_a_search_that_the_calls_own_deadline_ends_is_a_time_out_where_somebody_listens() -> None:
    error = Trip(*[SILENT] * 1000, timeout_ms=300).fails(DeadlineExceededError)
    assert "time-out while connecting; 2 endpoints failed" in str(error)
    assert error.detail["state"] == "connecting"
    Trip(*[GONE] * 1000, timeout_ms=300).fails(ServerUnavailableError)


def test_finding_one_endpoint_takes_a_share_of_the_time() -> None:
    trip = Trip(*[SILENT] * 4, takes_ms=1)
    trip.run()
    assert trip.shares_ms == [
        FIRST_SHARE_MS,
        FIRST_SHARE_MS,
        FIRST_SHARE_MS * 2,
        FIRST_SHARE_MS * 2,
        FIRST_SHARE_MS * 4,
    ]
    trip = Trip(SILENT, SILENT, endpoints=3, timeout_ms=400)
    trip.run()
    assert trip.shares_ms == pytest.approx([100, 400 / 3, 200])


def test_a_look_is_repeated_at_will() -> None:
    assert Trip(LOST, LOST, endpoints=3).run(None, is_reading=True) == "c"
    assert Trip(LOST, LOST, LOST).run(is_reading=True) in {"a", "b"}
    with pytest.raises(ServerLostError, match="2 endpoints failed"):
        Trip(LOST, LOST).run(None, is_reading=True)


def test_with_one_endpoint_the_retries_decide_and_patience_is_whole() -> None:
    trip = Trip(BUSY, LOST, endpoints=1)
    assert trip.run() == "a"
    assert trip.pauses_ms == [25, 50]
    assert trip.shares_ms == [5000] * 3
    for error in (GONE, BUSY, LOST):
        assert Trip(error, endpoints=1).fails(type(error), None) is error
    assert Trip(GONE, endpoints=1).fails(ServerUnavailableError) is GONE


@given(
    failures=st.lists(st.sampled_from([GONE, SILENT, LOST, UNSENT, BUSY, LOADING, DRAINING]), max_size=60),
    endpoints=st.integers(1, 4),
    timeout_ms=st.floats(1, 20_000),
    takes_ms=st.floats(0, 500),
    resends=st.none() | st.integers(0, 3),
)
@settings(deadline=None)
def test_a_call_ends_by_its_deadline_and_is_resent_no_more_than_allowed(
    failures: list[PredictdError], endpoints: int, timeout_ms: float, takes_ms: float, resends: int | None
) -> None:
    trip = Trip(*failures, endpoints=endpoints, timeout_ms=timeout_ms, takes_ms=takes_ms)
    retries = None if resends is None else Retries(resends=resends)
    before = list(failures)
    with contextlib.suppress(PredictdError):
        trip.run(retries)
    used = before[: len(before) - len(trip.failures)]
    assert sum(error is LOST for error in used) <= (resends or 0) + 1
    assert not any(route.under_way for route in trip.routes._routes.values())
    # No try begins after the deadline.
    assert trip.now_s * 1000 <= timeout_ms + takes_ms + 1e-6
