"""The core's book-keeping: what ends a request gives its room back, and nothing grows out of sight of the bounds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictd_proto.messages import CancelRequest
from predictd_server.serving.assembly import ALIGNMENT_BYTES, REUSED_BYTES, Workspace
from predictd_server.serving.execution import execute
from predictd_server.serving.run_costs import MOST_COSTS
from tests.server.fake_model import POISON, CoreBench, rows


def test_a_model_that_surprised_with_a_long_run_is_expected_to_do_so_again_for_a_while() -> None:
    signature = CoreBench().registry.find("m", None, None)
    signature.costs.observe(1, (), 0.001)
    signature.costs.observe(1, (), 3.0)
    assert signature.costs.expected_s(1) == 3.0
    for _ in range(100):
        signature.costs.observe(1, (), 0.001)
    assert signature.costs.expected_s(1) > 0.5
    for _ in range(1000):
        signature.costs.observe(1, (), 0.001)
    assert signature.costs.expected_s(1) == pytest.approx(0.001, rel=0.2)


def counted_rows(bench: CoreBench) -> int:
    return sum(model.counted_rows for model in bench.core.admission.models.values())


def held(bench: CoreBench) -> tuple[int, int, int, int]:
    admission = bench.core.admission
    assert 0 <= counted_rows(bench) <= admission.rows
    return admission.requests, admission.rows, admission.bytes, bench.core.open_requests


def test_cancelled_work_gives_its_room_back_at_once_and_leaves_nothing_behind() -> None:
    bench = CoreBench(max_rows=4, max_bytes=1000)
    for number in range(5000):
        bench.send(number, rows(4))
        bench.send_message(CancelRequest(id=number))
    assert not [answer for answer in bench.answers.values() if getattr(answer, "code", "") == "overloaded"]
    assert held(bench) == (0, 0, 0, 0)
    assert bench.core.waiting_requests < 1000
    bench.send(9999, rows(4))
    bench.run_all()
    np.testing.assert_array_equal(bench.outputs(9999)[0], rows(4) * 2)
    assert bench.runner.sizes == [4]


def test_expired_work_is_answered_while_a_long_run_goes_on_and_makes_room_for_the_living() -> None:
    bench = CoreBench(max_rows=4)
    bench.send(1, rows(4), timeout_ms=10.0)
    bench.now += 1.0
    bench.core.sweep(bench.now)
    bench.collect()
    assert bench.error(1).code == "expired_in_queue"
    assert held(bench) == (0, 0, 0, 0)
    bench.send(2, rows(4), timeout_ms=10.0)
    bench.now += 1.0
    bench.send(3, rows(4), timeout_ms=1000.0)
    bench.run_all()
    assert bench.error(2).code == "expired_in_queue"
    assert bench.outputs(3)[0].shape == (4, 3)


def test_a_request_that_fails_half_way_gives_the_rest_of_its_room_back() -> None:
    bench = CoreBench(max_batch_size=4)
    poisoned = rows(12)
    poisoned[0, 0] = POISON
    bench.send(1, poisoned)
    bench.run_one()
    assert bench.error(1).code == "prediction_failed"
    assert held(bench) == (0, 0, 0, 0)
    assert bench.run_all() == 0


def test_a_request_of_many_rows_shuts_nobody_out() -> None:
    bench = CoreBench(max_batch_size=4, max_rows=16)
    bench.send(1, rows(1000) % 7)
    bench.run_one()
    for number in range(2, 10):
        bench.send(number, rows(1))
    bench.send(12, rows(500) % 7)
    bench.send(13, rows(4))
    assert [number for number, answer in bench.answers.items() if getattr(answer, "code", "") == "overloaded"] == [
        (b"p", 13)
    ]
    bench.run_all()
    assert [bench.outputs(number)[0].shape[0] for number in (1, 2, 9, 12)] == [1000, 1, 1, 500]
    assert held(bench) == (0, 0, 0, 0)
    assert counted_rows(bench) == 0


@settings(deadline=None)
@given(data=st.data())
def test_what_counts_of_the_rows_that_wait_is_never_more_than_a_batch_of_each_request(data: st.DataObject) -> None:
    """Or less, where batches are larger than anybody has asked for."""
    most = data.draw(st.sampled_from([8, 3, 1]))
    bench = CoreBench(max_batch_size=8, count_bound=most if most < 8 else 64, max_rows=1 << 20)
    open_rows: dict[int, int] = {}
    for number in range(data.draw(st.integers(1, 20))):
        match data.draw(st.sampled_from(["send", "cancel", "run"])):
            case "send":
                open_rows[number] = data.draw(st.integers(1, 40))
                bench.send(number, rows(open_rows[number]) % 7)
            case "cancel" if open_rows:
                bench.send_message(CancelRequest(id=data.draw(st.sampled_from(sorted(open_rows)))))
            case "run":
                bench.run_one()
        waiting = [request for request in bench.core._lanes.waiting() if request.next_row < request.rows]
        assert bench.core.admission.rows == sum(request.rows - request.next_row for request in waiting)
        assert counted_rows(bench) == sum(min(r.rows - r.next_row, most) for r in waiting)
    bench.run_all()
    assert held(bench) == (0, 0, 0, 0)
    assert counted_rows(bench) == 0


def test_batches_of_strings_are_bounded_by_the_bytes_they_really_have() -> None:
    bench = CoreBench((None,), max_batch_bytes=1000, dtype="string")
    bench.send(0, np.array([b"x"], object))
    bench.run_all()
    for number in range(1, 9):
        bench.send(number, np.array([b"y" * 400], object))
    bench.send(9, np.array([b"z" * 5000, b"z" * 5000], object))
    bench.run_all()
    assert bench.runner.sizes == [1, 2, 2, 2, 2, 1, 1]
    assert bench.outputs(9)[0].tolist() == [b"z" * 5000] * 2


def test_the_search_for_a_culprit_ends_and_its_neighbours_may_try_again() -> None:
    bench = CoreBench()
    for number in range(8):
        bench.send(number, rows(1, POISON if number == 0 else 1000.0 + number))
    batch = bench.core.next_batch(bench.now)
    assert batch is not None
    ticks = iter(range(0, 10_000, 6))
    bench.core.finish(batch, execute(batch, bench.workspace, clock=lambda: float(next(ticks))))
    bench.collect()
    codes = {getattr(bench.answers[b"p", number], "code", "ok") for number in range(8)}
    assert "overloaded" in codes
    assert len(bench.answers) == 8
    assert held(bench) == (0, 0, 0, 0)


def test_a_signature_counts_who_still_needs_it_a_run_whose_caller_has_gone_among_them() -> None:
    bench = CoreBench(max_batch_size=4)
    signature = bench.registry.find("m", None, None)
    bench.send(1, rows(6))
    bench.send(2, rows(1))
    assert (signature.open_requests, signature.open_runs) == (2, 0)
    batch = bench.core.next_batch(bench.now)
    assert batch is not None
    assert (signature.open_requests, signature.open_runs) == (2, 1)
    bench.send_message(CancelRequest(id=1))
    bench.send_message(CancelRequest(id=2))
    assert signature.open_requests == 0
    assert signature.is_needed, "the run was forgotten with the request that it is for"
    bench.core.finish(batch, execute(batch, bench.workspace))
    assert not signature.is_needed


def test_the_core_tells_up_to_which_change_of_the_models_nothing_old_comes_in() -> None:
    bench = CoreBench()
    bench.registry.generation += 1
    assert bench.core.seen_generation < bench.registry.generation
    bench.core.sweep(bench.now)
    assert bench.core.seen_generation == bench.registry.generation


def test_what_is_gone_is_forgotten_before_the_core_tells_that_nothing_of_it_comes_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = CoreBench()
    told: list[int] = []
    monkeypatch.setattr(bench.core.shared, "drop_unserved", lambda: told.append(bench.core.seen_generation))
    before = bench.core.seen_generation
    bench.registry.generation += 1
    bench.core.sweep(bench.now)
    assert told == [before]


def test_what_is_remembered_of_the_durations_of_runs_that_callers_choose_the_size_of_is_bounded() -> None:
    bench = CoreBench((None, 3), max_batch_size=1)
    signature = replace(bench.registry.find("m", None, None), sizes=())
    for size in range(1, 5000):
        signature.costs.observe(size, (), 0.001 * size)
    assert len(signature.costs) == MOST_COSTS
    assert signature.costs.expected_s(4999) == pytest.approx(4.999)
    signature.costs.observe(4999, (), 0.001)
    assert len(signature.costs) == MOST_COSTS


def test_memory_for_inputs_is_reused_but_not_kept_for_the_largest_that_ever_came() -> None:
    workspace = Workspace()
    assert np.shares_memory(workspace.block(0, 1000), workspace.block(0, 500))
    large = workspace.block(0, REUSED_BYTES + 1)
    assert (large.nbytes, large.ctypes.data % ALIGNMENT_BYTES) == (REUSED_BYTES + 1, 0)
    assert not np.shares_memory(large, workspace.block(0, REUSED_BYTES + 1)), "it is kept"
    assert workspace.block(0, 1000).nbytes == 1000
