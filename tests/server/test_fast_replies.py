"""The fast way out of the core gives what the ordinary way gives."""

from __future__ import annotations

from contextlib import nullcontext
from unittest import mock

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.fake_model import CoreBench, rows


@settings(deadline=None, max_examples=60)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12), width=st.sampled_from([1, 3, 600]))
def test_with_and_without_templates_the_answers_are_the_same(sizes: list[int], width: int) -> None:
    answers = []
    for way in (nullcontext(), mock.patch("predictd_server.serving.answers.whole_replies", return_value=None)):
        bench = CoreBench((None, width), (None,), max_batch_size=8)
        with way:
            for number, size in enumerate(sizes):
                pair = rows(size, 1000.0 + number, width), np.arange(size, dtype=np.float32)
                bench.send(number, *pair, timeout_ms=5.0)
            bench.run_all()
        answers.append([(bench.outputs(number), bench.receipt(number)) for number in range(len(sizes))])
    for fast, slow in zip(*answers, strict=True):
        for one, other in zip(fast[0], slow[0], strict=True):
            np.testing.assert_array_equal(one, other)
        for name in ("model", "version", "batch_rows", "padding_rows", "batches", "closed_by", "queued_rows"):
            assert getattr(fast[1], name) == getattr(slow[1], name), name


def test_a_request_like_an_earlier_one_takes_the_short_way_and_every_rule_still_holds() -> None:
    bench = CoreBench(max_rows=3)
    for number in range(3):
        bench.send(number, rows(1, number), timeout_ms=1000.0)
    bench.send(3, rows(1), timeout_ms=1000.0)
    assert bench.error(3).code == "overloaded"
    bench.send(2, rows(1), peer=b"other", timeout_ms=0.0)
    bench.now += 0.5
    bench.run_all()
    assert [bench.outputs(number)[0][0, 0] for number in range(3)] == [0, 2, 4]
    bench.core.drain()
    bench.send(9, rows(1), timeout_ms=1000.0)
    assert bench.error(9).code == "draining"


def test_after_a_change_of_the_models_a_known_request_is_looked_up_again() -> None:
    from tests.server.fake_model import DoublingRunner, doubling_spec, served

    bench = CoreBench()
    bench.send(1, rows(1), timeout_ms=1000.0)
    bench.send(2, rows(1), timeout_ms=1000.0)
    bench.run_all()
    bench.registry.put(served(doubling_spec((None, 4)), DoublingRunner()))
    bench.send(3, rows(1), timeout_ms=1000.0)
    assert bench.error(3).code == "tensor_mismatch"
