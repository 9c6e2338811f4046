"""What is kept for a task's next run: for how long, how much of it, and what it must not stand in the way of."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

from predictd_proto.errors import PredictionError, ServerDrainingError
from predictd_proto.messages import CancelRequest
from predictd_server.serving import task_question, task_runs
from predictd_server.serving.batch import Run
from predictd_server.serving.caller_class import CallerClass
from predictd_server.serving.response_cache import TENSOR_BYTES
from tests.server.fake_model import POISON, DoublingRunner, begin, doubling_spec, end, rows, served
from tests.server.task_bench import KEEP_S, TASK, assert_books_balance, bench_of, counted, put, vanish


def test_inputs_that_are_too_large_to_compare_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_question, "MOST_BYTES", 20)
    bench = bench_of()
    bench.send(1, rows(2), peer=b"gone", **TASK)
    bench.send(2, rows(1), peer=b"gone", **TASK)
    assert vanish(bench) == (1, 1)


def test_what_waits_longer_than_it_is_kept_is_released_and_nobody_is_told() -> None:
    bench = bench_of()
    bench.send(0, rows(1))
    running = begin(bench)
    bench.send(1, rows(2), peer=b"gone", timeout_ms=50.0, **TASK)
    vanish(bench)
    bench.now += KEEP_S - 0.1
    bench.core.sweep(bench.now)
    assert bench.core.waiting_requests == 1, "the lost run's own deadline counts no more"
    bench.now += 0.2
    bench.core.sweep(bench.now)
    assert bench.core.waiting_requests == 0
    end(bench, running)
    assert set(bench.answers) == {(b"p", 0)}
    assert counted(bench) == (1, 0, 1)
    assert bench.counters.requests_expired_total == 0
    assert_books_balance(bench)


def test_a_run_that_takes_longer_can_be_joined_until_it_ends_and_its_answer_is_not_kept() -> None:
    for joins in (True, False):
        bench = bench_of()
        bench.send(1, rows(2), peer=b"gone", **TASK)
        batch = begin(bench)
        vanish(bench)
        bench.now += 2 * KEEP_S
        bench.core.sweep(bench.now)
        if joins:
            bench.send(2, rows(2), **TASK)
        end(bench, batch)
        if not joins:
            bench.send(2, rows(2), **TASK)
            bench.run_all()
        assert bench.runner.sizes == ([2] if joins else [2, 2])
        np.testing.assert_array_equal(bench.outputs(2)[0], rows(2) * 2)
        bench.run_all()
        assert_books_balance(bench)


def test_an_answer_is_kept_no_longer_than_said_and_goes_while_nothing_comes() -> None:
    bench = bench_of()
    bench.send(1, rows(2), peer=b"gone", **TASK)
    batch = begin(bench)
    vanish(bench)
    end(bench, batch)
    assert bench.core.shared.tasks.answers == 1
    bench.now += KEEP_S
    assert bench.core.next_batch(bench.now) is None
    assert_books_balance(bench)


def test_answers_that_are_kept_have_a_bound_in_bytes_and_the_oldest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_runs, "KEPT_BYTES", 2 * (task_runs.ENTRY_BYTES + 2 * TENSOR_BYTES) + 200)
    bench = bench_of()
    tasks = bench.core.shared.tasks
    for number in range(5):
        bench.send(number, rows(1, number), peer=b"gone", **TASK)
    bench.send(5, rows(1000), peer=b"gone", **TASK)
    batches = []
    while (batch := bench.core.next_batch(bench.now)) is not None:
        batches.append(batch)
    vanish(bench)
    for batch in batches:
        end(bench, batch)
        assert tasks.bytes <= task_runs.KEPT_BYTES
    assert tasks.answers == 2
    for number in range(5):
        bench.send(number, rows(1, number), **TASK)
    bench.run_all()
    assert bench.counters.requests_joined_total == 2
    for number in range(5):
        np.testing.assert_array_equal(bench.outputs(number)[0], rows(1, number) * 2)
    assert_books_balance(bench)


@pytest.mark.parametrize("is_running", [False, True])
def test_a_cancelled_request_is_not_kept(*, is_running: bool) -> None:
    bench = bench_of()
    bench.send(1, rows(2), peer=b"gone", **TASK)
    batch = begin(bench) if is_running else None
    bench.send_message(CancelRequest(id=1), peer=b"gone")
    assert vanish(bench) == (0, 0)
    if batch is not None:
        end(bench, batch)
    assert bench.run_all() == 0
    assert bench.core.shared.tasks.answers == 0
    assert_books_balance(bench)


def test_a_next_run_that_is_cancelled_leaves_nothing_and_one_that_dies_too_is_kept_again() -> None:
    bench = bench_of()
    bench.send(1, rows(2), peer=b"gone", **TASK)
    vanish(bench)
    bench.now += KEEP_S - 1
    bench.send(2, rows(2), peer=b"second", **TASK)
    assert vanish(bench, b"second") == (0, 1)
    bench.now += KEEP_S - 1
    bench.send(3, rows(2), peer=b"third", **TASK)
    bench.send_message(CancelRequest(id=3), peer=b"third")
    assert bench.run_all() == 0
    assert bench.answers == {}
    assert counted(bench) == (2, 2, 0)
    assert_books_balance(bench)


def test_a_next_run_has_a_deadline_of_its_own() -> None:
    bench = bench_of()
    bench.send(1, rows(2), peer=b"gone", timeout_ms=60_000.0, **TASK)
    vanish(bench)
    bench.send(2, rows(2), timeout_ms=20.0, **TASK)
    bench.now += 0.03
    bench.run_all()
    assert bench.error(2).code == "expired_in_queue"
    assert_books_balance(bench)


@pytest.mark.parametrize("joins", ["before", "after", "never"])
def test_a_failed_run_is_told_to_the_next_run_and_never_kept(joins: str) -> None:
    bench = bench_of()
    array = np.full((1, 3), POISON, np.float32)
    bench.send(1, array, peer=b"gone", **TASK)
    batch = begin(bench)
    vanish(bench)
    if joins == "before":
        bench.send(2, array, **TASK)
    end(bench, batch)
    if joins == "after":
        bench.send(2, array, **TASK)
        bench.run_all()
    if joins != "never":
        assert bench.error(2).code == "prediction_failed"
    assert len(bench.answers) == (joins != "never")
    assert bench.runner.sizes == ([1, 1] if joins == "after" else [1])
    assert_books_balance(bench)


def test_who_waits_for_a_lost_run_s_answer_gets_a_run_of_its_own_when_that_fails() -> None:
    bench = bench_of(cache_bytes=1 << 20)
    bench.send(1, rows(2), peer=b"gone", **TASK)
    batch = begin(bench)
    vanish(bench)
    bench.send(2, rows(2))
    bench.core.finish(batch, [Run(batch.parts, batch.rows, batch.size, None, PredictionError("out of memory"))])
    bench.run_all()
    np.testing.assert_array_equal(bench.outputs(2)[0], rows(2) * 2)
    assert_books_balance(bench)


def test_what_is_kept_keeps_nobody_out_who_is_there() -> None:
    bench = bench_of(max_rows=4, classes=[CallerClass(name="web"), CallerClass(name="celery")])
    bench.send(0, rows(1))
    running = begin(bench)
    bench.send(1, rows(4), peer=b"gone", **TASK)
    vanish(bench)
    bench.send(2, rows(4, 50), caller_class="web")
    assert counted(bench) == (1, 0, 1)
    end(bench, running)
    bench.run_all()
    np.testing.assert_array_equal(bench.outputs(2)[0], rows(4, 50) * 2)
    assert_books_balance(bench)


def test_a_server_that_drains_keeps_nothing_for_those_whom_it_would_refuse() -> None:
    bench = bench_of(max_batch_size=2)
    for number in range(3):
        bench.send(number, rows(2, number), peer=b"gone", **TASK)
    done, running = begin(bench), begin(bench)
    vanish(bench)
    end(bench, done)
    bench.core.drain()
    assert (bench.core.waiting_requests, bench.core.shared.tasks.answers) == (0, 0)
    bench.send(9, rows(2), **TASK)
    assert bench.error(9).code == "draining"
    end(bench, running)
    assert bench.core.open_requests == 0


def test_a_server_that_is_out_of_time_tells_only_those_who_are_there() -> None:
    bench = bench_of()
    bench.send(1, rows(2), peer=b"gone", **TASK)
    bench.send(2, rows(2))
    batch = begin(bench)
    vanish(bench)
    bench.core.drain()
    bench.core.abandon(ServerDrainingError("bye"))
    bench.collect()
    assert set(bench.answers) == {(b"p", 2)}
    end(bench, batch)
    assert_books_balance(bench)


def test_nothing_that_is_kept_keeps_a_replaced_model_in_memory() -> None:
    bench = bench_of()
    runner: Any = DoublingRunner()
    bench.registry.put(served(doubling_spec((None, 3)), runner))
    bench.send(1, rows(2), peer=b"gone", **TASK)
    batch = begin(bench)
    vanish(bench)
    end(bench, batch)
    assert bench.core.shared.tasks.answers == 1
    known = weakref.ref(runner)
    del batch, runner
    put(bench)
    bench.core.next_batch(bench.now)
    gc.collect()
    assert known() is None
    assert_books_balance(bench)


def test_a_request_of_no_rows_is_answered_and_never_kept() -> None:
    bench = bench_of()
    bench.send(1, rows(0), peer=b"gone", **TASK)
    assert vanish(bench) == (0, 0)
    assert set(bench.answers) == {(b"gone", 1)}
