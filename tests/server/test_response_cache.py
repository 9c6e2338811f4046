"""Answers that requests share: kept for those that come again, and had together by those that come at once."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predictd_proto.errors import PredictionError, ServerDrainingError
from predictd_proto.messages import CancelRequest
from predictd_proto.tensors import Tensor
from predictd_server.models.settings import ModelSettings
from predictd_server.serving.batch import Batch, Run
from predictd_server.serving.pending import Pending
from predictd_server.serving.response_cache import ENTRY_BYTES, TENSOR_BYTES, key_of
from predictd_server.serving.served import ServedSignature
from tests.server.fake_model import POISON, CoreBench, DoublingRunner, begin, doubling_spec, end, rows, served


def bench_of(
    *shapes: tuple[int | None, ...], cache_bytes: int = 1 << 20, is_repeatable: bool = True, **more: Any
) -> CoreBench:
    bench = CoreBench(*shapes, **more)
    put(bench, *shapes, cache_bytes=cache_bytes, is_repeatable=is_repeatable, dtype=more.get("dtype", "float32"))
    return bench


def put(bench: CoreBench, *shapes: tuple[int | None, ...], dtype: str = "float32", **fields: Any) -> ServedSignature:
    model = served(doubling_spec(*(shapes or ((None, 3),)), dtype=dtype), bench.runner, 8)
    cache_bytes = fields.pop("cache_bytes", 1 << 20)
    signature = replace(
        model.signatures["serve"], settings=ModelSettings(name="m", path=Path(), cache_bytes=cache_bytes), **fields
    )
    bench.registry.put(replace(model, signatures={"serve": signature}))
    return signature


def counted(bench: CoreBench) -> tuple[int, int, int]:
    counters = bench.counters
    return counters.cache_hits_total, counters.cache_misses_total, counters.cache_joined_total


def assert_books_balance(bench: CoreBench) -> None:
    held = bench.core.admission
    assert (held.requests, held.rows, held.bytes, bench.core.open_requests) == (0, 0, 0, 0)
    assert bench.registry.find("m", None, None).open_requests == 0
    assert all(model.rows == 0 for model in held.models.values())
    assert not bench.core.shared.under_way
    assert not bench.core.shared.has_followers


def test_a_request_that_comes_again_is_answered_without_a_run_and_its_receipt_says_so() -> None:
    bench = bench_of()
    bench.send(1, rows(2))
    bench.run_all()
    bench.send(2, rows(2), peer=b"other")
    np.testing.assert_array_equal(bench.outputs(2, b"other")[0], rows(2) * 2)
    assert bench.runner.sizes == [2]
    assert bench.receipt(1).closed_by == "idle"
    message: Any = bench.answers[b"other", 2]
    assert (message.receipt.closed_by, message.receipt.batches, message.receipt.version) == ("cache", 0, 1)
    assert "kept" in str(message.receipt)
    assert counted(bench) == (1, 1, 0)
    assert_books_balance(bench)


@pytest.mark.parametrize(
    "other",
    [rows(2, 1), rows(1), rows(2).reshape(1, 6), rows(2) * np.float32(-1)],
    ids=["values", "fewer", "shape", "signs"],
)
def test_other_inputs_are_another_question(other: np.ndarray) -> None:
    bench = bench_of((None, None))
    bench.send(1, rows(2))
    bench.send(2, other)
    bench.run_all()
    np.testing.assert_array_equal(bench.outputs(2)[0], other * 2)
    assert counted(bench) == (0, 2, 0)


def test_off_by_default_and_off_for_answers_that_can_not_be_repeated() -> None:
    for bench in (CoreBench(), bench_of(is_repeatable=False), bench_of(cache_bytes=0)):
        for number in (1, 2):
            bench.send(number, rows(2))
            bench.run_all()
        assert bench.runner.sizes == [2, 2]
        assert counted(bench) == (0, 0, 0)
        assert not bench.core.shared.caches


def test_a_small_input_can_not_pass_for_the_digest_of_a_large_one() -> None:
    signature = put(CoreBench(), (None,), dtype="string")

    def asked(text: bytes) -> Pending:
        tensor = Tensor.from_array("x0", np.array([text], object))
        return Pending(b"p", 1, signature, (tensor,), 1, len(tensor.data), 0.0, 1.0)

    key = key_of(asked(b"y" * 5000))
    digest = key[-1]
    assert isinstance(digest, tuple)
    assert key != key_of(asked(digest[1]))
    assert key == key_of(asked(b"y" * 5000))


def test_requests_for_the_same_at_once_share_one_run() -> None:
    bench = bench_of()
    for number in range(5):
        bench.send(number, rows(2), peer=b"p%d" % number)
    bench.run_all()
    assert bench.runner.sizes == [2]
    for number in range(5):
        np.testing.assert_array_equal(bench.outputs(number, b"p%d" % number)[0], rows(2) * 2)
    message: Any = bench.answers[b"p3", 3]
    assert message.receipt.closed_by == "joined"
    assert counted(bench) == (0, 1, 4)
    assert_books_balance(bench)


def test_a_request_joins_one_that_runs_already() -> None:
    bench = bench_of()
    bench.send(1, rows(2))
    batch = begin(bench)
    bench.send(2, rows(2))
    end(bench, batch)
    assert bench.runner.sizes == [2]
    np.testing.assert_array_equal(bench.outputs(2)[0], rows(2) * 2)
    assert_books_balance(bench)


@pytest.mark.parametrize("is_running", [False, True])
@pytest.mark.parametrize("how", ["cancel", "vanish"])
def test_when_the_one_that_runs_goes_away_another_takes_its_work_over(how: str, *, is_running: bool) -> None:
    bench = bench_of()
    bench.send(1, rows(2), peer=b"gone")
    bench.send(2, rows(2))
    bench.send(3, rows(2))
    batch = begin(bench) if is_running else None
    if how == "cancel":
        bench.send_message(CancelRequest(id=1), peer=b"gone")
    else:
        bench.core.forget(b"gone", bench.now)
    if batch is None:
        bench.run_all()
    else:
        end(bench, batch)
    assert bench.runner.sizes == [2]
    for number in (2, 3):
        np.testing.assert_array_equal(bench.outputs(number)[0], rows(2) * 2)
    assert (b"gone", 1) not in bench.answers
    assert_books_balance(bench)


def test_a_client_that_vanishes_with_all_that_asked_the_same_leaves_nothing_behind() -> None:
    bench = bench_of()
    for number in range(4):
        bench.send(number, rows(2))
    assert len(bench.core.forget(b"p", bench.now)[0]) == 4
    assert bench.run_all() == 0
    assert_books_balance(bench)


def test_each_keeps_its_own_deadline() -> None:
    bench = bench_of()
    bench.send(1, rows(2), timeout_ms=10.0)
    bench.send(2, rows(2), timeout_ms=20.0)
    bench.send(3, rows(2), timeout_ms=10_000.0)
    bench.send(4, rows(2), timeout_ms=10.0)
    bench.now += 1.0
    bench.run_all()
    assert [bench.error(number).code for number in (1, 2, 4)] == ["expired_in_queue"] * 3
    np.testing.assert_array_equal(bench.outputs(3)[0], rows(2) * 2)
    assert bench.counters.requests_expired_total == 3
    assert_books_balance(bench)


def test_who_waits_for_anothers_answer_is_told_when_its_time_is_up_while_a_long_run_goes_on() -> None:
    bench = bench_of()
    bench.send(0, rows(1))
    batch = begin(bench)
    bench.send(1, rows(2), timeout_ms=10_000.0)
    bench.send(2, rows(2), timeout_ms=10.0)
    bench.now += 1.0
    bench.core.sweep(bench.now)
    bench.collect()
    assert bench.error(2).code == "expired_in_queue"
    end(bench, batch)
    bench.run_all()
    assert bench.outputs(1)[0].shape == (2, 3)
    assert_books_balance(bench)


def fail(bench: CoreBench, batch: Batch) -> None:
    error = PredictionError("out of memory")
    bench.core.finish(batch, [Run(batch.parts, batch.rows, batch.size, None, error)])
    bench.collect()


def test_when_the_one_that_runs_fails_another_gets_a_run_of_its_own() -> None:
    bench = bench_of()
    for number in (1, 2, 3):
        bench.send(number, rows(2))
    fail(bench, begin(bench))
    assert bench.error(1).code == "prediction_failed"
    bench.run_all()
    for number in (2, 3):
        np.testing.assert_array_equal(bench.outputs(number)[0], rows(2) * 2)
    assert_books_balance(bench)


def test_what_fails_twice_is_not_run_once_more_for_everybody() -> None:
    bench = bench_of()
    for number in range(50):
        bench.send(number, np.full((1, 3), POISON, np.float32))
    bench.run_all()
    assert bench.runner.sizes == [1, 1]
    assert {bench.error(number).code for number in range(50)} == {"prediction_failed"}
    assert_books_balance(bench)
    bench.send(99, np.full((1, 3), POISON, np.float32))
    bench.run_all()
    assert bench.error(99).code == "prediction_failed", "a failure was kept"


def test_a_run_for_those_that_are_left_keeps_no_version_that_is_gone_meanwhile() -> None:
    bench = bench_of()
    bench.send(1, rows(2))
    bench.send(2, rows(2))
    batch = begin(bench)
    left = bench.runner = DoublingRunner()
    old = weakref.ref(batch.signature.runner)
    put(bench)
    bench.core.sweep(bench.now)
    fail(bench, batch)
    bench.run_all()
    assert bench.outputs(2)[0].shape == (2, 3)
    assert left.sizes == [], "the new version answered for the old one"
    assert_books_balance(bench)
    del batch
    gc.collect()
    assert old() is None


def test_answers_go_with_their_version() -> None:
    bench = bench_of()
    bench.send(1, rows(2))
    bench.run_all()
    cache = bench.core.shared.caches["m"]
    assert (len(cache), cache.bytes > 0) == (1, True)
    put(bench)
    bench.core.sweep(bench.now)
    assert (len(cache), cache.bytes) == (0, 0)
    bench.send(2, rows(2))
    bench.run_all()
    assert bench.runner.sizes == [2, 2]


def test_the_answer_of_a_version_that_was_replaced_meanwhile_is_given_and_not_kept() -> None:
    bench = bench_of()
    bench.send(1, rows(2))
    batch = begin(bench)
    put(bench)
    bench.core.sweep(bench.now)
    end(bench, batch)
    assert bench.outputs(1)[0].shape == (2, 3)
    assert len(bench.core.shared.caches["m"]) == 0


def test_draining_finishes_those_that_wait_for_another_and_the_end_of_it_answers_them() -> None:
    for is_run in (True, False):
        bench = bench_of()
        bench.send(1, rows(2))
        bench.send(2, rows(2))
        bench.core.drain()
        bench.send(3, rows(2))
        assert bench.error(3).code == "draining"
        if is_run:
            bench.run_all()
            assert bench.outputs(2)[0].shape == (2, 3)
        bench.core.abandon(ServerDrainingError("bye"))
        bench.collect()
        assert len(bench.answers) == 3
        assert_books_balance(bench)


def test_one_that_would_wait_for_another_gets_the_room_of_those_whose_time_is_up() -> None:
    bench = bench_of(max_bytes=4096)
    bench.send(0, rows(1))
    batch = begin(bench)
    bench.send(1, rows(280), timeout_ms=10.0)
    bench.send(2, rows(2))
    bench.now += 1.0
    bench.send(3, rows(2))
    assert bench.error(1).code == "expired_in_queue"
    end(bench, batch)
    bench.run_all()
    np.testing.assert_array_equal(bench.outputs(3)[0], rows(2) * 2)
    assert_books_balance(bench)


def test_work_that_goes_from_caller_to_caller_holds_up_nobody_beside_it() -> None:
    bench = bench_of(window_s=0.05)
    bench.send(0, rows(2))
    bench.now += 0.001
    bench.send(100, rows(1), peer=b"other")
    for number in range(1, 4):
        assert not bench.run_one()
        bench.now += 0.016
        bench.send(number, rows(2))
        bench.send_message(CancelRequest(id=number - 1))
    bench.now += 0.001
    assert bench.run_one(), "the window began anew with each caller"
    assert bench.outputs(100, b"other")[0].shape == (1, 3)
    assert bench.receipt(3).queue_ms == pytest.approx(1.0)
    assert_books_balance(bench)


def test_those_that_wait_for_another_are_bounded_too() -> None:
    bench = bench_of(max_bytes=4096)
    for number in range(10):
        bench.send(number, rows(2))
    codes = [getattr(answer, "code", "") for answer in bench.answers.values()]
    assert codes == ["overloaded"] * 6
    bench.run_all()
    assert_books_balance(bench)


def test_what_is_kept_is_bounded_and_the_least_recently_used_goes_first() -> None:
    entry = ENTRY_BYTES + 2 * TENSOR_BYTES + 24
    bench = bench_of(cache_bytes=3 * entry)
    for number in range(3):
        bench.send(number, rows(2, number))
        bench.run_all()
    bench.send(10, rows(2, 0))
    bench.send(11, rows(2, 3))
    bench.run_all()
    cache = bench.core.shared.caches["m"]
    assert (len(cache), cache.bytes) == (3, 3 * entry)
    bench.send(12, rows(2, 0))
    bench.send(13, rows(2, 1))
    bench.run_all()
    assert (bench.receipt(12).closed_by, bench.receipt(13).closed_by) == ("cache", "idle")
