"""Receipts tell the truth: why a batch left, what it held, and where the time went."""

from __future__ import annotations

import numpy as np

from predictd_proto.messages import Receipt
from tests.server.fake_model import CoreBench, rows


def test_the_wait_between_the_batches_of_one_request_counts_as_waiting() -> None:
    bench = CoreBench(max_batch_size=4)
    bench.now += 1.0
    bench.send(1, rows(10))
    for _ in range(3):
        bench.now += 2.0
        bench.run_one()
    receipt = bench.receipt(1)
    assert receipt.batches == 3
    # The test's clock stands still while a batch runs; only the splits of the first two took time, and were no waiting.
    assert (receipt.assemble_ms, receipt.execute_ms) == (0, 0)
    assert 6000 - receipt.split_ms <= receipt.queue_ms < 6000


def test_a_batch_that_others_did_not_fit_into_was_full_though_rows_were_left() -> None:
    bench = CoreBench(max_batch_size=8)
    bench.send(1, rows(5))
    bench.send(2, rows(6))
    bench.run_all()
    assert (bench.receipt(1).closed_by, bench.receipt(1).padding_rows) == ("full", 3)
    assert (bench.receipt(2).closed_by, bench.receipt(2).padding_rows) == ("idle", 2)


def test_the_pieces_of_a_large_request_are_full_but_for_the_last() -> None:
    bench = CoreBench(max_batch_size=4)
    bench.send(1, rows(10))
    for reason in ("full", "full", "idle"):
        batch = bench.core.next_batch(bench.now)
        assert batch is not None
        assert batch.closed_by == reason
        bench.core.finish(batch, [])


def test_a_request_that_fills_a_batch_alone_found_the_engine_idle_and_ends_a_window() -> None:
    for window_s, reason in ((0.0, "idle"), (60.0, "full")):
        bench = CoreBench(max_batch_size=4, window_s=window_s)
        bench.send(1, rows(4))
        bench.run_all()
        assert bench.receipt(1).closed_by == reason


def test_strings_fill_a_batch_by_their_bytes() -> None:
    bench = CoreBench((None,), max_batch_bytes=1000, dtype="string")
    for number in range(3):
        bench.send(number, np.array([b"y" * 400], object))
    bench.run_all()
    assert [bench.receipt(number).closed_by for number in range(3)] == ["full", "full", "idle"]


def test_rows_that_wait_when_the_answer_leaves_are_the_load_that_clients_choose_by() -> None:
    bench = CoreBench(max_batch_size=4)
    bench.send(1, rows(4))
    batch = bench.core.next_batch(bench.now)
    assert batch is not None
    bench.send(2, rows(3))
    bench.send(3, rows(10))
    from predictd_server.serving.execution import execute

    bench.core.finish(batch, execute(batch, bench.workspace))
    bench.collect()
    bench.run_all()
    assert bench.receipt(1).queued_rows == 13
    assert bench.receipt(3).queued_rows == 0


def test_a_receipt_of_an_answer_that_was_kept_says_so() -> None:
    for closed_by in ("cache", "joined"):
        assert "no batch: the answer was kept" in str(Receipt(model="m", version=1, batches=0, closed_by=closed_by))
    assert "a batch of 2 rows" in str(Receipt(model="m", version=1, batch_rows=2, closed_by="joined"))


def test_a_receipt_reads_well() -> None:
    receipt = Receipt(model="digits", version=3, queue_ms=1.5, execute_ms=2.25, batch_rows=7, padding_rows=1)
    assert str(receipt) == (
        "'digits' version 3 in 3.75 ms (queue 1.50, assemble 0.00, execute 2.25, split 0.00), "
        "a batch of 7 rows + 1 padding, closed: idle; 0 rows waited behind it"
    )
    assert "a batch of 1 row, closed: full; 1 row waited" in str(
        Receipt(model="m", version=1, batch_rows=1, closed_by="full", queued_rows=1)
    )
    assert "3 batches, the last of 2 rows" in str(Receipt(model="m", version=1, batches=3, batch_rows=2))
    assert "no batch" in str(Receipt(model="m", version=1, batches=0))
