"""A task that is run again, because its worker died, joins the run that the first one has begun."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from predictd_proto.tensors import Tensor
from predictd_server.serving.execution import execute
from tests.server.fake_model import CoreBench, begin, end, rows
from tests.server.task_bench import KEEP_S, TASK, assert_books_balance, bench_of, counted, put, response, vanish


@pytest.mark.parametrize("is_repeatable", [True, False])
@pytest.mark.parametrize("when", ["queued", "running", "done"])
def test_the_next_run_of_a_task_gets_the_answer_of_the_run_that_the_first_began(
    when: str, *, is_repeatable: bool
) -> None:
    bench = bench_of(is_repeatable=is_repeatable)
    bench.send(1, rows(2), peer=b"gone", **TASK)
    batch = None if when == "queued" else begin(bench)
    assert vanish(bench) == (0, 1)
    if batch is not None and when == "done":
        end(bench, batch)
    bench.now += KEEP_S / 2
    bench.send(7, rows(2), **TASK)
    if batch is None:
        bench.run_all()
    elif when == "running":
        end(bench, batch)
    assert bench.runner.sizes == [2]
    np.testing.assert_array_equal(bench.outputs(7)[0], rows(2) * 2)
    receipt = response(bench, 7).receipt
    assert (receipt.closed_by, receipt.version, receipt.batches) == ("joined", 1, int(when != "done"))
    assert set(bench.answers) == {(b"p", 7)}, "nobody else is answered"
    assert counted(bench) == (1, 1, 0)
    assert bench.counters.requests_ok_total == 1
    assert_books_balance(bench)


def test_what_is_of_no_task_is_dropped_at_once_as_ever() -> None:
    bench = bench_of()
    bench.send(1, rows(2), peer=b"gone", traceparent="00-1", task_name="named.only")
    bench.send(2, rows(2), peer=b"gone")
    assert vanish(bench) == (2, 0)
    assert bench.run_all() == 0
    assert_books_balance(bench)


def test_with_keep_ms_of_0_a_task_s_work_is_dropped_too_but_who_is_there_still_joins() -> None:
    bench = bench_of(keep_s=0.0)
    bench.send(1, rows(2), peer=b"gone", **TASK)
    bench.send(2, rows(2), **TASK)
    assert vanish(bench) == (1, 0)
    bench.run_all()
    assert bench.runner.sizes == [2]
    np.testing.assert_array_equal(bench.outputs(2)[0], rows(2) * 2)
    assert_books_balance(bench)


def test_two_who_live_and_run_the_same_task_share_one_run() -> None:
    bench = bench_of()
    bench.send(1, rows(2), peer=b"first", **TASK)
    bench.send(2, rows(2), peer=b"second", **TASK)
    bench.run_all()
    assert bench.runner.sizes == [2]
    for number, peer in ((1, b"first"), (2, b"second")):
        np.testing.assert_array_equal(bench.outputs(number, peer)[0], rows(2) * 2)
    assert response(bench, 1, b"first").receipt.closed_by == "idle"
    assert response(bench, 2, b"second").receipt.closed_by == "joined"
    assert counted(bench) == (0, 1, 0)
    assert_books_balance(bench)


@pytest.mark.parametrize("is_running", [False, True])
def test_when_the_first_of_two_dies_the_second_has_the_run_and_what_it_leaves_is_kept_for_a_third(
    *, is_running: bool
) -> None:
    bench = bench_of()
    bench.send(1, rows(2), peer=b"first", **TASK)
    bench.send(2, rows(2), peer=b"second", **TASK)
    batch = begin(bench) if is_running else None
    assert vanish(bench, b"first") == (int(not is_running), 0)
    assert vanish(bench, b"second") == (0, 1)
    bench.send(3, rows(2), **TASK)
    if batch is not None:
        end(bench, batch)
    bench.run_all()
    assert bench.runner.sizes == [2]
    assert set(bench.answers) == {(b"p", 3)}
    assert response(bench, 3).receipt.closed_by == "joined"
    assert_books_balance(bench)


def test_when_the_second_of_two_dies_the_first_goes_on_alone() -> None:
    bench = bench_of()
    bench.send(1, rows(2), **TASK)
    bench.send(2, rows(2), peer=b"second", **TASK)
    assert vanish(bench, b"second") == (1, 0)
    bench.run_all()
    assert set(bench.answers) == {(b"p", 1)}
    assert_books_balance(bench)


def test_two_who_live_have_a_run_each_where_the_model_answers_differently_each_time() -> None:
    bench = bench_of(is_repeatable=False)
    bench.send(1, rows(2), peer=b"first", **TASK)
    bench.send(2, rows(2), peer=b"second", **TASK)
    bench.run_all()
    assert sum(bench.runner.sizes) == 4
    assert counted(bench) == (0, 0, 0)
    assert_books_balance(bench)


def test_each_of_equal_requests_of_a_lost_task_is_taken_over_once_where_answers_differ() -> None:
    bench = bench_of(is_repeatable=False)
    for number in range(3):
        bench.send(number, rows(2), peer=b"gone", **TASK)
    assert vanish(bench) == (0, 3)
    for number in range(3):
        bench.send(number, rows(2), **TASK)
    bench.run_all()
    assert bench.counters.rows_total == 6
    assert all((b"p", number) in bench.answers for number in range(3))
    assert counted(bench) == (3, 3, 0)
    assert_books_balance(bench)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (rows(2, 1), {}),
        (rows(1), {}),
        (rows(2) * np.float32(-1), {}),
        (rows(2), {"task_id": "t-2"}),
        (rows(2), {"task_id": ""}),
        (rows(2), {"version": 2}),
    ],
    ids=["values", "fewer", "signs", "task", "no task", "version"],
)
@pytest.mark.parametrize("is_done", [False, True])
@pytest.mark.parametrize("is_there", [False, True])
def test_another_question_joins_nothing(
    array: np.ndarray, words: dict[str, Any], *, is_done: bool, is_there: bool
) -> None:
    bench = bench_of()
    put(bench, version=2)
    bench.send(1, rows(2), peer=b"gone", **{**TASK, "version": 1})
    batch = begin(bench)
    if not is_there:
        vanish(bench)
    if is_done:
        end(bench, batch)
    bench.send(2, array, **{**TASK, "version": 1, **words})
    if not is_done:
        end(bench, batch)
    bench.run_all()
    np.testing.assert_array_equal(bench.outputs(2)[0], array * 2)
    assert response(bench, 2).receipt.version == words.get("version", 1)
    assert bench.counters.requests_joined_total == 0
    assert sum(bench.runner.sizes) == 2 + len(array)


def test_a_label_or_the_latest_that_means_another_version_by_now_is_another_question() -> None:
    bench = bench_of()
    bench.send(1, rows(2), peer=b"gone", **TASK)
    batch = begin(bench)
    vanish(bench)
    put(bench, version=2)
    bench.send(2, rows(2), **TASK)
    end(bench, batch)
    bench.run_all()
    assert response(bench, 2).receipt.version == 2
    assert bench.runner.sizes == [2, 2]


def test_large_inputs_are_told_apart_by_a_byte_that_no_sample_has() -> None:
    bench = bench_of(max_bytes=64 << 20)
    array = rows(1 << 16, 1000)
    other = array.copy()
    other[12_345, 1] += 1
    bench.send(1, array, peer=b"gone", **TASK)
    vanish(bench)
    bench.send(2, other, **TASK)
    bench.send(3, array, **TASK)
    assert bench.counters.requests_joined_total == 1
    bench.run_all()
    np.testing.assert_array_equal(bench.outputs(2)[0], other * 2)
    np.testing.assert_array_equal(bench.outputs(3)[0], array * 2)


def test_a_lost_run_s_answer_is_there_for_the_next_run_where_answers_are_kept_for_all() -> None:
    bench = bench_of(cache_bytes=1 << 20)
    bench.send(1, rows(2), peer=b"gone", **TASK)
    batch = begin(bench)
    vanish(bench)
    end(bench, batch)
    bench.send(2, rows(2), **TASK)
    bench.send(3, rows(2), **TASK)
    assert [response(bench, number).receipt.closed_by for number in (2, 3)] == ["joined", "cache"]
    assert bench.runner.sizes == [2]
    assert_books_balance(bench)


def test_a_large_request_goes_on_in_its_place_and_is_whole_for_the_next_run() -> None:
    bench = bench_of(max_batch_size=4)
    bench.send(1, rows(10), peer=b"gone", **TASK)
    batch = begin(bench)
    vanish(bench)
    end(bench, batch)
    end(bench, begin(bench))
    bench.send(2, rows(10), **TASK)
    bench.run_all()
    np.testing.assert_array_equal(bench.outputs(2)[0], rows(10) * 2)
    assert bench.runner.sizes == [4, 4, 2]
    assert (response(bench, 2).receipt.closed_by, response(bench, 2).receipt.batches) == ("joined", 3)
    assert_books_balance(bench)


def test_outputs_that_are_kept_are_a_copy() -> None:
    bench = bench_of()
    bench.send(1, rows(2), peer=b"gone", **TASK)
    batch = begin(bench)
    vanish(bench)
    (run,) = execute(batch, bench.workspace)
    bench.core.finish(batch, [run])
    assert run.outputs is not None
    run.outputs[0][:] = 0
    bench.send(2, rows(2), **TASK)
    np.testing.assert_array_equal(bench.outputs(2)[0], rows(2) * 2)


def test_others_in_the_batch_of_a_joined_request_get_their_own_answers_from_templates_or_not() -> None:
    bench = bench_of()
    bench.send(0, rows(1))
    running = begin(bench)
    bench.send(1, rows(2), peer=b"gone", **TASK)
    bench.send(2, rows(1, 70))
    bench.send(3, rows(1, 80), task_id="other")
    vanish(bench)
    bench.send(4, rows(2), **TASK)
    end(bench, running)
    bench.run_all()
    assert bench.runner.sizes == [1, 4]
    for number, array in ((2, rows(1, 70)), (3, rows(1, 80)), (4, rows(2))):
        np.testing.assert_array_equal(bench.outputs(number)[0], array * 2)
    assert [response(bench, number).receipt.closed_by for number in (2, 3, 4)] == ["gathered", "gathered", "joined"]
    assert_books_balance(bench)


def test_texts_are_compared_as_they_travel() -> None:
    bench = CoreBench((None,), dtype="string")
    assert Tensor.from_array("x0", np.array([b"a", b"bc"], object)) != Tensor.from_array(
        "x0", np.array([b"ab", b"c"], object)
    )
    bench.send(1, np.array([b"a", b"bc"], object), peer=b"gone", **TASK)
    vanish(bench)
    bench.send(2, np.array([b"ab", b"c"], object), **TASK)
    assert bench.counters.requests_joined_total == 0
    bench.send(3, np.array([b"a", b"bc"], object), **TASK)
    assert bench.counters.requests_joined_total == 1
    bench.run_all()
    assert bench.outputs(3)[0].tolist() == [b"a", b"bc"]
