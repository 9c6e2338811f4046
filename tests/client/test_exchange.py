"""The exchange: matching, the window, deadlines, cancelling, repetitions; no sockets, no threads, no clock."""

from __future__ import annotations

import numpy as np
import pytest

import predictd
from predictd.in_flight.channel import MOST_IN_FLIGHT, MOST_UNREAD
from predictd.routing.retries import Retries
from predictd_proto.messages import ErrorResponse, PredictResponse
from predictd_proto.tensors import Tensor
from tests.client.exchange_bench import Bench, value_of
from tests.client.fake_server import DOUBLE, FLOAT_ROWS, answer, other_version, signature


def test_answers_find_their_requests_in_any_order() -> None:
    bench = Bench()
    asked = [bench.ask(n) for n in range(10)]
    bench.run_jobs()
    (connection,) = bench.connections
    for request in reversed(connection.waiting):
        bench.answer(request)
    bench.read()
    assert bench.done == asked[::-1]
    assert [value_of(pending) for pending in asked] == [2 * n for n in range(10)]
    assert bench.exchange.is_idle
    assert bench.exchange.next_turn_s() is None


def test_a_connection_carries_64_requests_and_more_connections_come_up_to_the_bound() -> None:
    bench = Bench(max_in_flight=100)
    for n in range(150):
        bench.ask(n)
    bench.run_jobs()
    assert [len(connection.waiting) for connection in bench.connections] == [MOST_IN_FLIGHT, 100 - MOST_IN_FLIGHT]
    bench.answer_all()
    assert len(bench.done) == 100
    assert sum(len(connection.waiting) for connection in bench.connections) == 50
    bench.answer_all()
    assert sorted(value_of(pending) for pending in bench.done) == [2 * n for n in range(150)]


def test_those_beyond_the_window_go_first_come_first_served() -> None:
    bench = Bench(max_in_flight=1)
    asked = [bench.ask(n) for n in range(5)]
    bench.run_jobs()
    while not bench.exchange.is_idle:
        assert len(bench.connections[0].waiting) == 1
        bench.answer_all()
    assert bench.done == asked


def test_a_request_that_never_gets_its_turn_says_so() -> None:
    bench = Bench(max_in_flight=1)
    bench.asked()
    late = bench.ask(timeout_ms=500)
    bench.advance(0.6)
    assert bench.done == [late]
    assert isinstance(late.error, predictd.DeadlineExceededError)
    assert "1 requests were before it (max_in_flight = 1)" in str(late.error)
    assert late.error.detail["state"] == "preparing"


def test_a_late_answer_is_ignored_and_the_next_one_is_right() -> None:
    bench = Bench()
    first = bench.asked(1, timeout_ms=1000)
    (connection,) = bench.connections
    (request,) = connection.waiting
    bench.advance(1.5)
    assert isinstance(first.error, predictd.DeadlineExceededError)
    assert first.error.detail["state"] == "waiting"
    assert connection.cancelled == [request.id]
    second = bench.ask(2)
    connection.reply(answer(request))
    bench.read()
    assert bench.done == [first]
    bench.answer_all()
    assert value_of(second) == 4
    assert not connection.is_closed


def test_cancelling_tells_the_server_and_nobody_else() -> None:
    bench = Bench()
    kept, dropped = bench.ask(1), bench.ask(2)
    bench.run_jobs()
    bench.exchange.cancel(dropped)
    bench.exchange.cancel(dropped)
    (connection,) = bench.connections
    assert len(connection.cancelled) == 1
    bench.answer_all()
    assert bench.done == [kept]
    bench.exchange.cancel(kept)
    assert len(connection.cancelled) == 1
    assert bench.exchange.is_idle


def test_cancelling_before_it_is_sent_sends_nothing() -> None:
    bench = Bench(max_in_flight=1)
    first, beyond = bench.ask(1), bench.ask(2)
    bench.exchange.cancel(first)
    bench.exchange.cancel(beyond)
    bench.run_jobs()
    assert [connection.requests for connection in bench.connections] == [{}]
    assert bench.done == []
    assert bench.exchange.is_idle


def test_a_cancelled_request_makes_room_for_the_next_at_once() -> None:
    bench = Bench(max_in_flight=1)
    first = bench.asked(1)
    second = bench.ask(2)
    bench.exchange.cancel(first)
    bench.answer_all()
    assert value_of(second) == 4


def test_a_lost_connection_fails_what_was_on_it() -> None:
    bench = Bench()
    asked = [bench.ask(n) for n in range(3)]
    bench.run_jobs()
    (connection,) = bench.connections
    bench.answer(connection.waiting[0])
    connection.is_lost = True
    bench.read()
    assert value_of(asked[0]) == 0
    assert [type(pending.error) for pending in asked[1:]] == [predictd.ServerLostError] * 2
    assert connection.is_closed
    assert not bench.watched


def test_a_lost_request_is_sent_once_more_and_no_more_than_that() -> None:
    bench = Bench(retries=Retries(resends=1))
    pending = bench.asked()
    for connection in range(2):
        bench.connections[connection].is_lost = True
        bench.server_id = f"server {connection}"
        bench.read()
        bench.advance(0.1)
        bench.run_jobs()
    assert isinstance(pending.error, predictd.ServerLostError)
    assert "given up after 2 tries" in str(pending.error)
    assert len(bench.connections) == 2


def test_a_connection_that_was_idle_while_its_server_went_is_no_loss() -> None:
    bench = Bench(retries=None)
    bench.asked()
    bench.answer_all()
    bench.connections[0].is_lost = True
    again = bench.asked(3)
    bench.answer_all()
    assert value_of(again) == 6
    assert len(bench.connections) == 2


def test_a_restarted_server_has_other_plans() -> None:
    bench = Bench(retries=Retries())
    pending = bench.asked(2)
    bench.server_id = "second"
    bench.connections[0].is_lost = True
    bench.read()
    bench.advance(0.1)
    bench.run_jobs()
    bench.answer_all()
    assert value_of(pending) == 4
    assert bench.link.fetched == 2


def test_a_busy_server_is_asked_again_after_its_own_estimate() -> None:
    bench = Bench(retries=Retries(first_pause_ms=20))
    pending = bench.asked(1)
    (connection,) = bench.connections
    connection.refuse(connection.waiting[0], "overloaded", retry_after_ms=300)
    bench.read()
    assert bench.done == []
    assert bench.exchange.next_turn_s() == pytest.approx(bench.now_s + 0.31)
    bench.advance(0.3)
    assert connection.waiting == []
    bench.advance(0.02)
    bench.answer_all()
    assert value_of(pending) == 2


def test_without_time_for_another_pause_the_servers_error_stands() -> None:
    bench = Bench(retries=Retries())
    pending = bench.asked(timeout_ms=200)
    (connection,) = bench.connections
    connection.refuse(connection.waiting[0], "overloaded", retry_after_ms=300)
    bench.read()
    assert isinstance(pending.error, predictd.OverloadedError)


def test_nobody_answers() -> None:
    bench = Bench(retries=Retries())
    bench.connect_error = predictd.ServerUnavailableError("nobody")
    asked = [bench.ask() for _ in range(3)]
    bench.run_jobs()
    assert [type(pending.error) for pending in asked] == [predictd.ServerUnavailableError] * 3
    assert asked[0].error is not asked[1].error


def test_who_has_more_time_does_not_share_the_fate_of_a_hurried_attempt() -> None:
    bench = Bench()
    bench.connect_error = predictd.ServerUnavailableError("nobody")
    hurried = bench.ask(timeout_ms=100)
    patient = bench.ask(timeout_ms=9000)
    bench.run_job()
    assert bench.done == [hurried]
    bench.connect_error = None
    bench.run_jobs()
    bench.answer_all()
    assert value_of(patient) == 2


def test_after_a_loss_who_comes_back_is_waited_for_and_the_loss_is_told() -> None:
    bench = Bench(retries=Retries())
    pending = bench.asked(timeout_ms=5000)
    bench.connections[0].is_lost = True
    bench.connect_error = predictd.ServerUnavailableError("nobody")
    bench.read()
    while not pending.is_done:
        bench.advance(0.05)
        bench.run_jobs()
    assert isinstance(pending.error, predictd.ServerLostError)
    assert "given up after" in str(pending.error)
    assert bench.now_s > 103


def test_a_further_connection_that_cannot_be_had_harms_nobody() -> None:
    bench = Bench(max_in_flight=128)
    bench.asked()
    bench.connect_error = predictd.ServerUnavailableError("no more")
    asked = [bench.ask(n) for n in range(100)]
    bench.run_jobs()
    while not bench.exchange.is_idle:
        bench.answer_all()
    assert sorted(value_of(pending) for pending in asked) == [2 * n for n in range(100)]
    assert len(bench.connections) == 1


def test_wrong_inputs_fail_alone_and_only_after_a_second_look() -> None:
    bench = Bench()
    good, bad = bench.ask(1), bench.ask(inputs=np.ones((1, 5), np.float32))
    bench.run_jobs()
    again = bench.ask(inputs=np.ones((1, 5), np.float32))
    bench.run_jobs()
    assert bench.link.fetched == 2
    bench.answer_all()
    assert value_of(good) == 2
    assert isinstance(bad.error, predictd.TensorMismatchError)
    assert isinstance(again.error, predictd.TensorMismatchError)


def test_an_input_that_raises_is_the_callers() -> None:
    class Broken:
        def __array__(self, *arguments: object, **options: object) -> np.ndarray:
            raise ZeroDivisionError

    bench = Bench()
    broken, good = bench.ask(inputs=Broken()), bench.ask(1)
    bench.run_jobs()
    bench.answer_all()
    assert isinstance(broken.error, ZeroDivisionError)
    assert value_of(good) == 2


def test_an_answer_of_a_newer_version_is_read_by_that_versions_plan() -> None:
    bench = Bench()
    pending = bench.asked()
    newer = other_version(DOUBLE, 2, signatures=(signature({"x": FLOAT_ROWS}, {"y": FLOAT_ROWS}, nest_out=["y"]),))
    bench.versions[2] = bench.model = newer
    bench.answer(bench.connections[0].waiting[0], version=2)
    bench.read()
    assert bench.done == []
    bench.run_jobs()
    assert pending.plan is not None
    assert pending.plan.metadata.version == 2
    assert value_of(pending) == 2


@pytest.mark.parametrize("how", ["refused", "late"])
def test_without_that_plan_the_answer_is_read_all_the_same(how: str) -> None:
    bench = Bench()
    pending = bench.asked(timeout_ms=1000)
    bench.fetch_error = predictd.ServerUnavailableError("nobody")
    bench.answer(bench.connections[0].waiting[0], version=2)
    bench.read()
    if how == "late":
        bench.advance(2)
        assert bench.done == [pending]
    bench.run_jobs()
    assert bench.done == [pending]
    assert value_of(pending) == 2


def test_other_outputs_than_the_signatures_are_an_error() -> None:
    bench = Bench()
    pending = bench.asked()
    (connection,) = bench.connections
    (request,) = connection.waiting
    other = Tensor.from_array("z", np.ones((1, 4), np.float32))
    connection.reply(PredictResponse(id=request.id, tensors=(other,), receipt=answer(request).receipt))
    bench.read()
    assert isinstance(pending.error, predictd.RemoteProtocolError)
    assert "its metadata says 'y'" in str(pending.error)


@pytest.mark.parametrize("what", ["garbage", "unreadable"])
def test_what_cannot_be_read_or_matched_ends_the_connection(what: str) -> None:
    bench = Bench()
    asked = [bench.ask(n) for n in range(2)]
    bench.run_jobs()
    (connection,) = bench.connections
    connection.arrived.append([b"?"])
    if what == "unreadable":
        connection.arrived.clear()
        connection.reply(ErrorResponse(id=None, code="malformed", message="what?"))
    bench.read()
    assert [type(pending.error) for pending in asked] == [predictd.RemoteProtocolError] * 2
    assert connection.is_closed
    later = bench.asked(3)
    bench.answer_all()
    assert value_of(later) == 6


def test_a_server_that_reads_nothing_is_not_sent_more_than_its_pipe_holds() -> None:
    bench = Bench(max_in_flight=64)
    bench.asked(timeout_ms=1e6)
    for _ in range(MOST_UNREAD + 50):
        bench.exchange.cancel(bench.asked())
    first, second = bench.connections
    assert len(first.requests) == MOST_UNREAD
    assert len(second.requests) < MOST_UNREAD
    bench.answer_all()
    assert not second.is_closed


def test_closing_ends_everything_and_tells_the_servers() -> None:
    bench = Bench(max_in_flight=2)
    asked = [bench.ask() for _ in range(3)]
    bench.run_jobs()
    bench.exchange.close(predictd.RequestCancelledError("closed"))
    assert [type(pending.error) for pending in asked] == [predictd.RequestCancelledError] * 3
    (connection,) = bench.connections
    assert len(connection.cancelled) == 2
    assert connection.is_closed
    assert not bench.watched
    assert bench.exchange.next_turn_s() is None


def test_a_connection_that_comes_after_the_end_is_closed() -> None:
    bench = Bench()
    bench.ask()
    bench.exchange.close(predictd.RequestCancelledError("closed"))
    bench.run_jobs()
    assert [connection.is_closed for connection in bench.connections] == [True]


def test_a_million_short_requests_leave_nothing_behind() -> None:
    bench = Bench()
    bench.asked(timeout_ms=1e6)
    for _ in range(2000):
        bench.ask()
        bench.answer_all()
    assert len(bench.exchange._alarms._heap) < 300
