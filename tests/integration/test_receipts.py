"""Receipts as a client gets them: every field, in every situation that a batch can leave in."""

from __future__ import annotations

import time
from concurrent.futures import Future

import numpy as np
import pytest

import predictd
from tests.server.pump_bench import PumpBench, running_pump

pytestmark = pytest.mark.integration


def some_rows(count: int) -> np.ndarray:
    return np.ones((count, 3), np.float32)


def facts(answer: predictd.Prediction) -> tuple[str, int, int, int]:
    receipt = answer.receipt
    return receipt.closed_by, receipt.batch_rows, receipt.padding_rows, receipt.batches


def ask(pump: PumpBench, client: predictd.Client, *sizes: int) -> list[Future[predictd.Prediction]]:
    """Ask for some rows each, and wait until all of them are in the queue."""
    futures = []
    for number, size in enumerate(sizes, 1):
        futures.append(client.submit("m", some_rows(size)))
        # One by one, so that they stand in the queue in this order.
        pump.wait_queued(number)
    return futures


def test_alone_and_padded() -> None:
    with running_pump() as pump, predictd.Client(pump.endpoint) as client:
        assert facts(client.predict("m", some_rows(4))) == ("idle", 4, 0, 1)
        answer = client.predict("m", some_rows(3))
        assert facts(answer) == ("idle", 3, 1, 1)
        assert (answer.receipt.model, answer.receipt.version, answer.receipt.queued_rows) == ("m", 1, 0)
        assert facts(client.predict("m", some_rows(0))) == ("idle", 0, 0, 0)


def test_those_that_waited_together_and_how_long() -> None:
    with running_pump() as pump, predictd.Client(pump.endpoint) as client:
        pump.hold()
        begun_s = time.monotonic()
        futures = ask(pump, client, 1, 2)
        waited_from_s = time.monotonic()
        time.sleep(0.2)
        waited_ms = (time.monotonic() - waited_from_s) * 1000
        pump.open_gate()
        for future in futures:
            answer = future.result()
            assert facts(answer) == ("gathered", 3, 1, 1)
            assert waited_ms <= answer.receipt.queue_ms
            assert answer.receipt.server_ms <= (time.monotonic() - begun_s) * 1000


def test_a_full_batch_and_what_waits_behind_it() -> None:
    with running_pump() as pump, predictd.Client(pump.endpoint) as client:
        pump.hold()
        futures = ask(pump, client, 6, 2, 5)
        pump.open_gate()
        assert [facts(future.result()) for future in futures] == [
            ("full", 8, 0, 1),
            ("full", 8, 0, 1),
            ("idle", 5, 3, 1),
        ]
        assert [future.result().receipt.queued_rows for future in futures] == [5, 5, 0]


def test_a_large_request_in_several_batches() -> None:
    with running_pump() as pump, predictd.Client(pump.endpoint) as client:
        begun_s = time.monotonic()
        receipt = client.predict("m", some_rows(21)).receipt
        took_ms = (time.monotonic() - begun_s) * 1000
        assert (receipt.closed_by, receipt.batch_rows, receipt.padding_rows, receipt.batches) == ("idle", 5, 3, 3)
        assert 0 < receipt.execute_ms < receipt.server_ms <= took_ms


def test_a_window_that_is_over_and_one_that_fills_up() -> None:
    with running_pump(window_s=0.2) as pump, predictd.Client(pump.endpoint) as client:
        answer = client.predict("m", some_rows(2))
        assert facts(answer) == ("window", 2, 0, 1)
        assert answer.receipt.queue_ms >= 200
    with running_pump(window_s=30.0) as pump, predictd.Client(pump.endpoint) as client:
        futures = [client.submit("m", some_rows(4)) for _ in range(2)]
        assert [facts(future.result()) for future in futures] == [("full", 8, 0, 1)] * 2


def test_a_server_that_shuts_down() -> None:
    with running_pump() as pump, predictd.Client(pump.endpoint) as client:
        pump.hold()
        futures = ask(pump, client, 1, 1)
        pump.frontend.drain(time.monotonic() + 60)
        pump.wait_for(lambda: pump.core.is_draining)
        pump.open_gate()
        assert [facts(future.result()) for future in futures] == [("drain", 2, 0, 1)] * 2
