"""Work that is kept for a task's next run, let go of: for a new version, or for one who is here."""

from __future__ import annotations

import numpy as np
import pytest

from predictd_server.serving import shared_answers
from predictd_server.serving.caller_class import CallerClass
from predictd_server.serving.pending import Pending
from predictd_server.serving.shared_answers import is_of_two_runs
from tests.server.fake_model import CoreBench, DoublingRunner, begin, doubling_spec, end, rows, served
from tests.server.task_bench import KEEP_S, TASK, assert_books_balance, bench_of, counted, put, response, vanish


@pytest.mark.parametrize("is_removed", [False, True])
@pytest.mark.parametrize("is_running", [False, True])
def test_what_waits_for_a_version_that_is_no_longer_served_is_released(*, is_running: bool, is_removed: bool) -> None:
    bench = bench_of()
    old = put(bench)
    bench.send(0, rows(1))
    running = begin(bench)
    bench.send(1, rows(2), peer=b"gone", **TASK)
    vanish(bench)
    bench.registry.remove("m", 1) if is_removed else put(bench, version=2)
    if not is_removed:
        bench.registry.remove("m", 1)
    if is_running:
        bench.core.sweep(bench.now)
    else:
        end(bench, running)
        bench.core.next_batch(bench.now)
    assert bench.core.waiting_requests == 0
    assert counted(bench) == (1, 0, 1)
    if is_running:
        end(bench, running)
    assert bench.runner.sizes == [1]
    assert not old.is_needed
    assert_books_balance(bench)


def test_the_rest_of_a_cut_request_too_and_the_run_that_has_begun_ends() -> None:
    bench = bench_of(max_batch_size=4)
    old = bench.registry.find("m", None, None)
    bench.send(1, rows(10), peer=b"gone", **TASK)
    batch = begin(bench)
    vanish(bench)
    put(bench)
    bench.core.sweep(bench.now)
    assert (old.open_requests, old.open_runs) == (0, 1)
    end(bench, batch)
    assert bench.run_all() == 0
    assert not old.is_needed
    assert counted(bench) == (1, 0, 1)
    assert_books_balance(bench)


def test_what_waits_for_it_when_its_client_goes_later_is_not_kept_at_all() -> None:
    bench = bench_of()
    bench.send(0, rows(1))
    running = begin(bench)
    bench.send(1, rows(2), peer=b"gone", **TASK)
    put(bench)
    assert vanish(bench) == (1, 0)
    end(bench, running)
    assert bench.run_all() == 0
    assert_books_balance(bench)


def test_a_caller_of_no_task_who_waits_for_it_has_it_all_the_same_and_nothing_counts_as_released() -> None:
    bench = bench_of(cache_bytes=1 << 20)
    bench.send(0, rows(1))
    running = begin(bench)
    bench.send(1, rows(2), peer=b"gone", **TASK)
    vanish(bench)
    bench.send(2, rows(2))
    put(bench)
    end(bench, running)
    bench.run_all()
    np.testing.assert_array_equal(bench.outputs(2)[0], rows(2) * 2)
    assert counted(bench) == (1, 0, 0)
    assert_books_balance(bench)


def test_nor_does_it_when_its_time_is_up() -> None:
    bench = bench_of(cache_bytes=1 << 20)
    bench.send(0, rows(1))
    running = begin(bench)
    bench.send(1, rows(2), peer=b"gone", **TASK)
    vanish(bench)
    bench.send(2, rows(2), timeout_ms=60_000.0)
    bench.now += KEEP_S + 1
    bench.core.sweep(bench.now)
    assert counted(bench) == (1, 0, 0)
    end(bench, running)
    bench.run_all()
    np.testing.assert_array_equal(bench.outputs(2)[0], rows(2) * 2)
    assert bench.runner.sizes == [1, 2]
    assert_books_balance(bench)


def add_model(bench: CoreBench, name: str) -> None:
    bench.registry.put(served(doubling_spec((None, 3)), DoublingRunner(), model=name))


def test_a_full_queue_of_one_model_costs_no_other_model_s_work() -> None:
    bench = bench_of(max_rows=4)
    add_model(bench, "other")
    bench.send(0, rows(1))
    running = begin(bench)
    bench.send(1, rows(2), peer=b"gone", model="other", **TASK)
    bench.send(2, rows(4), peer=b"gone", **{**TASK, "task_id": "mine"})
    vanish(bench)
    bench.send(3, rows(4, 50))
    assert counted(bench) == (2, 0, 1)
    bench.send(4, rows(1, 90))
    assert bench.error(4).code == "overloaded"
    assert counted(bench) == (2, 0, 1)
    end(bench, running)
    bench.send(5, rows(2), model="other", **TASK)
    bench.run_all()
    assert response(bench, 5).receipt.closed_by == "joined"
    assert_books_balance(bench)


def test_a_class_s_own_bound_costs_no_other_class_s_work() -> None:
    classes = [CallerClass(name="web", max_queue_rows=2), CallerClass(name="celery")]
    bench = bench_of(max_rows=100, classes=classes)
    bench.send(0, rows(1))
    running = begin(bench)
    bench.send(1, rows(2), peer=b"gone", **TASK)
    vanish(bench)
    bench.send(2, rows(2, 50), caller_class="web")
    bench.send(3, rows(1, 90), caller_class="web")
    assert bench.error(3).code == "overloaded"
    assert counted(bench) == (1, 0, 0)
    bench.send(4, rows(2), **TASK)
    end(bench, running)
    bench.run_all()
    assert response(bench, 4).receipt.closed_by == "joined"
    assert_books_balance(bench)


def test_rows_kept_for_a_class_are_not_freed_by_its_own_work_and_what_goes_beyond_them_is() -> None:
    classes = [CallerClass(name="web"), CallerClass(name="celery")]
    for kept_rows, is_room in ((2, False), (3, True)):
        bench = bench_of(max_rows=12, classes=classes)
        bench.send(0, rows(1))
        running = begin(bench)
        bench.send(1, rows(kept_rows), peer=b"gone", **TASK)
        vanish(bench)
        bench.send(2, rows(12 - kept_rows - 2, 50), caller_class="web")
        bench.send(3, rows(1, 90), caller_class="web")
        assert ((b"p", 3) in bench.answers) is not is_room
        assert counted(bench) == (1, 0, int(is_room))
        end(bench, running)
        bench.run_all()


def test_where_bytes_are_short_any_model_s_work_makes_room() -> None:
    bench = bench_of(max_bytes=4000)
    add_model(bench, "other")
    bench.send(0, rows(1))
    running = begin(bench)
    bench.send(1, rows(200), peer=b"gone", model="other", **TASK)
    vanish(bench)
    bench.send(2, rows(200, 5000))
    assert counted(bench) == (1, 0, 1)
    end(bench, running)
    bench.run_all()
    np.testing.assert_array_equal(bench.outputs(2)[0], rows(200, 5000) * 2)
    assert_books_balance(bench)


def test_requests_are_looked_at_one_by_one_only_while_somebody_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = bench_of()
    looked: list[Pending] = []

    def counted_look(request: Pending) -> bool:
        looked.append(request)
        return is_of_two_runs(request)

    monkeypatch.setattr(shared_answers, "is_of_two_runs", counted_look)
    bench.send(1, rows(1), **TASK)
    bench.send(2, rows(1, 9))
    bench.run_all()
    assert not looked
    bench.send(3, rows(1), peer=b"first", **TASK)
    bench.send(4, rows(1), peer=b"other", **TASK)
    vanish(bench, b"first")
    bench.run_all()
    assert looked
    assert response(bench, 4, b"other").receipt.closed_by == "joined"
    assert_books_balance(bench)
