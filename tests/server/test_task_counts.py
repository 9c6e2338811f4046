"""Which tasks ask, as the status tells it and the log names them; bounded, whatever clients send."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from predictd_server.serving.task_counts import MOST_NAMES, OTHERS
from tests.server.fake_model import POISON, CoreBench, begin, end, rows
from tests.server.task_bench import bench_of, vanish

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def counts(bench: CoreBench) -> tuple[dict[str, Any], dict[str, Any]]:
    found = bench.core.shared.task_counts
    names, queues = ({name: asdict(count) for name, count in kind.items()} for kind in (found.names, found.queues))
    return names, queues


def totals(requests: int, joined: int = 0, kept: int = 0) -> dict[str, int]:
    return {"requests": requests, "joined": joined, "kept": kept}


def test_requests_are_counted_by_the_name_of_their_task_and_by_its_queue() -> None:
    bench = bench_of()
    bench.send(1, rows(2), peer=b"gone", task_id="t-1", task_name="shop.digit", caller_class="images")
    bench.send(2, rows(1), task_id="t-2", task_name="shop.digit", caller_class="celery")
    bench.send(3, rows(1), task_id="t-3", caller_class="celery")
    bench.send(4, rows(1), task_name="shop.nightly")
    vanish(bench)
    bench.send(5, rows(2), task_id="t-1", task_name="shop.digit", caller_class="images")
    bench.run_all()
    names, queues = counts(bench)
    assert names == {"shop.digit": totals(3, joined=1, kept=1), "shop.nightly": totals(1)}
    assert queues == {"images": totals(2, joined=1, kept=1), "celery": totals(2)}


def test_who_is_no_task_is_not_counted() -> None:
    bench = bench_of()
    bench.send(1, rows(1), caller_class="web")
    bench.send(2, rows(1), caller_class="web", traceparent=TRACE)
    assert counts(bench) == ({}, {})


def test_refused_requests_count_too() -> None:
    bench = bench_of(max_rows=1)
    for number in range(3):
        bench.send(number, rows(1, number), task_id=str(number), task_name="shop.digit")
    assert bench.error(2).code == "overloaded"
    assert counts(bench)[0] == {"shop.digit": totals(3)}


def test_names_without_end_are_counted_together() -> None:
    bench = bench_of()
    for number in range(3 * MOST_NAMES):
        name = f"made.up.{number}"
        bench.send(number, rows(1), task_id="t", task_name=name, caller_class=name)
        bench.run_all()
    bench.send(1000, rows(1), task_id="t", task_name="made.up.1")
    for kind, most in zip(counts(bench), (2, 1), strict=True):
        assert len(kind) == MOST_NAMES + 1
        assert kind["made.up.1"] == totals(most)
        assert kind[OTHERS] == totals(2 * MOST_NAMES)


def test_what_clients_send_begins_no_line_of_the_log_and_moves_no_cursor(caplog: pytest.LogCaptureFixture) -> None:
    bench = bench_of()
    poison = np.full((1, 3), POISON, np.float32)
    bench.send(1, poison, task_id="t\x1b[2J", task_name="shop\nERROR forged", traceparent="00\r\u202e\u2028é")
    with caplog.at_level(logging.WARNING):
        end(bench, begin(bench))
    assert r"(task shop\nERROR forged[t\x1b[2J] traceparent 00\r\u202e\u2028é): ValueError" in caplog.text
    assert all(each.isprintable() for each in caplog.records[0].getMessage())


def test_a_run_that_fails_is_logged_with_the_tasks_and_traces_that_were_in_it(caplog: pytest.LogCaptureFixture) -> None:
    bench = bench_of()
    poison = np.full((1, 3), POISON, np.float32)
    bench.send(1, poison, task_id="t-1", task_name="shop.digit", traceparent=TRACE)
    with caplog.at_level(logging.WARNING):
        end(bench, begin(bench))
    assert f"raised for 1 rows (task shop.digit[t-1] traceparent {TRACE}): ValueError: poisoned row" in caplog.text
    caplog.clear()
    for number in range(8):
        bench.send(number + 2, poison, task_id=f"u-{number}")
    with caplog.at_level(logging.WARNING):
        end(bench, begin(bench))
    assert (
        "raised for 8 rows (task ?[u-0], task ?[u-1], task ?[u-2], task ?[u-3], task ?[u-4], and 3 more):"
        in caplog.text
    )
    caplog.clear()
    bench.send(20, poison)
    bench.send(21, poison, traceparent=TRACE)
    with caplog.at_level(logging.WARNING):
        end(bench, begin(bench))
    assert f"raised for 2 rows (traceparent {TRACE}): " in caplog.text
    assert "raised for 1 rows: " in caplog.text
