"""A client that vanishes: what it has queued is released at once, and nobody else notices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictd_proto.messages import CancelRequest
from predictd_server.serving.batch import Batch
from tests.server.fake_model import CoreBench, begin, doubling_spec, end, rows, served


def held(bench: CoreBench) -> tuple[int, int, int, int, int]:
    core = bench.core
    return (
        core.admission.requests,
        core.admission.rows,
        core.admission.bytes,
        core.open_requests,
        core.waiting_requests,
    )


def test_what_a_vanished_client_has_queued_in_any_lane_is_released_and_others_stay() -> None:
    bench = CoreBench((None, None))
    bench.registry.put(served(doubling_spec((None, 3)), bench.runner, model="other"))
    for number, width in enumerate((3, 5, 7)):
        bench.send(number, rows(2, width=width), peer=b"gone")
        bench.send(number, rows(1, number, width=width), peer=b"here")
    bench.send(9, rows(1), peer=b"gone", model="other")
    bench.now += 1.0
    assert len(bench.core.forget(b"gone", bench.now)[0]) == 4
    assert bench.counters.requests_released_total == 4
    assert held(bench) == (3, 3, 4 * (3 + 5 + 7), 3, 3)
    bench.run_all()
    assert {peer for peer, _ in bench.answers} == {b"here"}
    for number, width in enumerate((3, 5, 7)):
        np.testing.assert_array_equal(bench.outputs(number, b"here")[0], rows(1, number, width=width) * 2)
    assert held(bench) == (0, 0, 0, 0, 0)


def test_what_already_runs_keeps_its_reply_which_then_finds_nobody() -> None:
    bench = CoreBench()
    bench.send(1, rows(2), peer=b"gone")
    batch = begin(bench)
    bench.send(2, rows(2), peer=b"gone")
    assert len(bench.core.forget(b"gone", bench.now)[0]) == 1
    end(bench, batch)
    assert set(bench.answers) == {(b"gone", 1)}
    assert bench.counters.requests_released_total == 1
    assert held(bench) == (0, 0, 0, 0, 0)


def test_the_waiting_rest_of_a_large_request_is_released_while_its_first_rows_run() -> None:
    bench = CoreBench(max_batch_size=4)
    bench.send(1, rows(10), peer=b"gone")
    batch = begin(bench)
    bench.send(2, rows(3, 50), peer=b"here")
    assert len(bench.core.forget(b"gone", bench.now)[0]) == 1
    assert held(bench)[1] == 3
    end(bench, batch)
    assert bench.run_all() == 1
    assert set(bench.answers) == {(b"here", 2)}
    np.testing.assert_array_equal(bench.outputs(2, b"here")[0], rows(3, 50) * 2)
    assert held(bench) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("peer", [b"gone", b"never seen"])
def test_forgetting_twice_or_somebody_unknown_does_nothing(peer: bytes) -> None:
    bench = CoreBench()
    bench.send(1, rows(1), peer=b"gone")
    bench.send_message(CancelRequest(id=1), peer=b"gone")
    assert len(bench.core.forget(peer, bench.now)[0]) == 0
    assert (bench.counters.requests_cancelled_total, bench.counters.requests_released_total) == (1, 0)


def test_status_counts_the_living_only_and_tells_the_age_of_the_oldest_of_them() -> None:
    bench = CoreBench()
    for number in range(100):
        bench.send(number, rows(1), peer=b"gone")
    bench.now += 5.0
    bench.send(1, rows(1), peer=b"here")
    bench.send(2, rows(1), peer=b"gone")
    bench.core.forget(b"gone", bench.now)
    assert bench.core.waiting_requests == 1
    assert bench.core.oldest_arrival() == bench.now


def test_a_window_is_counted_from_the_oldest_living_request() -> None:
    bench = CoreBench(window_s=1.0)
    bench.send(1, rows(1), peer=b"gone")
    bench.now += 0.75
    bench.send(2, rows(1), peer=b"here")
    bench.core.forget(b"gone", bench.now)
    assert bench.core.next_wakeup() == bench.now + 1.0
    bench.send_message(CancelRequest(id=2), peer=b"here")
    assert bench.core.next_wakeup() is None


STEPS = st.one_of(
    st.tuples(st.just("send"), st.integers(0, 3), st.integers(1, 12), st.sampled_from([2, 3])),
    st.tuples(st.just("forget"), st.integers(0, 3)),
    st.tuples(st.just("cancel"), st.integers(0, 3), st.integers(0, 30)),
    st.tuples(st.just("begin")),
    st.tuples(st.just("end")),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 5.0])),
)


@settings(max_examples=200, deadline=None)
@given(steps=st.lists(STEPS, max_size=60), max_batch_size=st.integers(1, 8), window_s=st.sampled_from([0.0, 1.0]))
def test_in_any_order_the_living_get_their_own_rows_and_the_books_balance(
    steps: list[tuple], max_batch_size: int, window_s: float
) -> None:
    bench = CoreBench((None, None), max_batch_size=max_batch_size, window_s=window_s, max_rows=10_000)
    peers = [[number, 0] for number in range(4)]
    sent: dict[tuple[bytes, int], np.ndarray] = {}
    lost: set[tuple[bytes, int]] = set()
    running: Batch | None = None

    def name(index: int) -> bytes:
        return b"\0%d.%d" % tuple(peers[index])

    for number, (what, *arguments) in enumerate(steps):
        if what == "send":
            index, count, width = arguments
            array = rows(count, number * 1000, width)
            sent[name(index), number] = array
            bench.send(number, array, peer=name(index), timeout_ms=4000.0)
        elif what == "forget":
            (index,) = arguments
            lost |= {key for key in sent if key[0] == name(index) and key not in bench.answers}
            bench.core.forget(name(index), bench.now)
            peers[index][1] += 1
        elif what == "cancel":
            index, request_id = arguments
            bench.send_message(CancelRequest(id=request_id), name(index))
            lost |= {key for key in sent if key == (name(index), request_id) and key not in bench.answers}
        elif what == "begin" and running is None:
            running = bench.core.next_batch(bench.now)
        elif what == "end" and running is not None:
            end(bench, running)
            running = None
        elif what == "wait":
            bench.now += arguments[0]
            bench.core.sweep(bench.now)
        bench.collect()
    if running is not None:
        end(bench, running)
    bench.now += 1.0
    bench.run_all()
    assert not bench.core.next_wakeup()
    for key, array in sent.items():
        if key in lost and key not in bench.answers:
            continue
        answer = bench.answers[key]
        if getattr(answer, "code", None) != "expired_in_queue":
            np.testing.assert_array_equal(bench.outputs(key[1], key[0])[0], array * 2)
    assert held(bench) == (0, 0, 0, 0, 0)
