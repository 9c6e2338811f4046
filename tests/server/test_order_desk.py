"""The order desk: bounds, deadlines, whose turn it is, and an answer for each order, once."""

from __future__ import annotations

import select
import threading

import pytest

from predictd_proto.errors import OverloadedError, ServerDrainingError
from predictd_proto.messages import ErrorResponse
from predictd_proto.orders import LabelRequest, LoadRequest, OrderResponse, ReloadRequest
from predictd_server.models import orders
from predictd_server.models.orders import OrderDesk
from tests.server.upkeep_bench import refused

PATIENCE_S = 60.0


def test_the_desk_bounds_what_waits() -> None:
    desk = OrderDesk(most=2)
    for number in range(2):
        desk.take_in(ReloadRequest(id=number), b"p")
    with pytest.raises(OverloadedError) as refusal:
        desk.take_in(ReloadRequest(id=2), b"p")
    assert refusal.value.retry_after_ms
    order = desk.next(0)
    assert order is not None
    desk.answer(order, OrderResponse(id=0))
    assert desk.take_answers() == [(b"p", OrderResponse(id=0))]
    desk.take_in(ReloadRequest(id=3), b"p")


def test_an_order_whose_time_is_up_is_not_carried_out() -> None:
    now = [0.0]
    desk = OrderDesk(clock=lambda: now[0])
    desk.take_in(LoadRequest(id=1, model="m", timeout_ms=1000.0), b"late")
    desk.take_in(LoadRequest(id=2, model="m"), b"patient")
    now[0] = 1.0
    order = desk.next(0)
    assert order is not None
    assert order.request.id == 2
    [(peer, answer)] = desk.take_answers()
    assert peer == b"late"
    assert "was not carried out" in refused(answer, "expired_in_queue")


def test_answers_wake_who_waits_for_them() -> None:
    desk = OrderDesk()
    desk.take_in(ReloadRequest(id=1), b"p")
    assert not select.select([desk], [], [], 0)[0]
    order = desk.next(0)
    assert order is not None
    desk.answer(order, OrderResponse(id=1))
    assert select.select([desk], [], [], 0)[0]
    desk.take_answers()
    assert not select.select([desk], [], [], 0)[0]


def test_a_closed_desk_answers_what_waits_and_takes_no_more() -> None:
    desk = OrderDesk()
    desk.take_in(ReloadRequest(id=1), b"p")
    desk.close()
    [(_, answer)] = desk.take_answers()
    refused(answer, ServerDrainingError.code)
    assert desk.next(None) is None
    with pytest.raises(ServerDrainingError):
        desk.take_in(ReloadRequest(id=2), b"p")


def test_an_order_under_way_is_told_of_the_shutdown_and_answered_once() -> None:
    desk = OrderDesk()
    desk.take_in(LoadRequest(id=1, model="m"), b"p")
    order = desk.next(0)
    assert order is not None
    desk.close()
    [(peer, answer)] = desk.take_answers()
    assert peer == b"p"
    assert "was not finished" in refused(answer, ServerDrainingError.code)
    desk.answer(order, OrderResponse(id=1))
    assert desk.take_answers() == []


def test_an_order_that_comes_while_the_desk_is_closed_is_answered_whoever_is_first() -> None:
    for _ in range(50):
        desk = OrderDesk(most=1000)
        told: list[int] = []

        def take_in(desk: OrderDesk = desk, told: list[int] = told) -> None:
            for number in range(20):
                try:
                    desk.take_in(ReloadRequest(id=number), b"p")
                except ServerDrainingError:
                    told.append(number)

        thread = threading.Thread(target=take_in)
        thread.start()
        desk.close()
        thread.join()
        told += [answer.id for _, answer in desk.take_answers() if isinstance(answer, ErrorResponse) and answer.id]
        assert sorted({0, *told}) == list(range(20))


def test_a_label_overtakes_other_orders_but_not_those_for_its_own_model() -> None:
    desk = OrderDesk()
    desk.take_in(LoadRequest(id=1, model="m"), b"p")
    desk.take_in(LabelRequest(id=2, model="m", label="late", version=1), b"p")
    desk.take_in(LabelRequest(id=3, model="n", label="soon", version=1), b"p")
    desk.take_in(ReloadRequest(id=4), b"p")
    desk.take_in(LabelRequest(id=5, model="o", label="late", version=1), b"p")
    urgent = desk.next_label(0)
    assert urgent is not None
    assert urgent.request.id == 3
    assert desk.next_label(0) is None
    waiting = [desk.next(0) for _ in range(4)]
    assert [order.request.id for order in waiting if order is not None] == [1, 2, 4, 5]


def test_who_waits_for_a_label_is_woken() -> None:
    desk = OrderDesk()
    thread = threading.Thread(target=desk.wake)
    thread.start()
    assert desk.next_label(None) is None
    thread.join()


def test_an_order_whose_time_is_up_hides_no_wake() -> None:
    desk = OrderDesk()
    desk.take_in(LabelRequest(id=1, model="m", label="late", version=1, timeout_ms=0.0), b"late")
    desk.wake()
    thread = threading.Thread(target=desk.next_label, args=(None,), daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    [(_, answer)] = desk.take_answers()
    refused(answer, "expired_in_queue")


def test_an_order_whose_time_is_up_does_not_begin_the_wait_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    waits_s: list[float | None] = []

    def clock() -> float:
        now[0] += 4
        return now[0]

    desk = OrderDesk(clock=clock)

    class Waiting(threading.Condition):
        def wait(self, timeout: float | None = None) -> bool:
            waits_s.append(timeout)
            desk.wake()
            return True

    monkeypatch.setattr(desk, "_changed", Waiting())
    monkeypatch.setattr(orders, "monotonic", lambda: now[0])
    desk.take_in(LabelRequest(id=1, model="m", label="late", version=1, timeout_ms=0.0), b"late")
    assert desk.next_label(6) is None
    assert waits_s == [2]
