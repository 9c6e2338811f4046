"""What runs cost: learnt by size, and by the shape of rows of any length; what it decides."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictd_server.models.serving_notes import serving_notes
from predictd_server.models.settings import ModelSettings
from predictd_server.serving import run_costs
from predictd_server.serving.batch import Batch, Run
from predictd_server.serving.run_costs import RunCosts, elements
from predictd_server.serving.served import ServedSignature
from tests.server.fake_model import CoreBench, DoublingRunner, doubling_spec, served

FREE = (None, None)


def of(*lengths: int) -> tuple[tuple[int, ...], ...]:
    return tuple((length,) for length in lengths)


def test_where_rows_are_alike_shapes_make_no_difference() -> None:
    costs = RunCosts()
    costs.observe(4, of(3), 0.5)
    assert costs.mean_s(4) == costs.mean_s(4, of(99)) == 0.5
    assert costs.mean_s(8) == inf


def test_each_shape_has_a_cost_of_its_own() -> None:
    costs = RunCosts(has_shapes=True)
    costs.observe(4, of(16), 0.001)
    costs.observe(4, of(512), 1.0)
    for _ in range(200):
        costs.observe(4, of(16), 0.002)
    assert costs.mean_s(4, of(16)) == pytest.approx(0.002)
    assert costs.mean_s(4, of(512)) == 1.0


def test_a_shape_that_never_ran_is_taken_for_the_next_larger_or_for_worse_than_the_largest() -> None:
    costs = RunCosts(has_shapes=True)
    assert costs.expected_s(4, of(8)) == inf
    costs.observe(4, of(16), 0.001)
    costs.observe(4, of(64), 0.01)
    costs.observe(8, of(1000), 5.0)
    assert costs.mean_s(4, of(8)) == 0.001
    assert costs.mean_s(4, of(18)) == 0.01
    assert costs.mean_s(4, of(128)) == pytest.approx(0.04)
    assert costs.mean_s(2, of(8)) == inf


def test_what_warm_up_measured_of_one_shape_is_its_slowest() -> None:
    costs = RunCosts(has_shapes=True)
    costs.set(4, of(16), 0.002)
    costs.set(4, of(16), 0.001)
    assert costs.mean_s(4, of(16)) == 0.002


@settings(deadline=None)
@given(runs=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 100), st.floats(1e-5, 10)), max_size=40))
def test_a_guess_is_between_what_was_seen_and_never_below_a_smaller_shape_s_largest(
    runs: list[tuple[int, int, float]],
) -> None:
    costs = RunCosts(has_shapes=True)
    for size, length, seconds in runs:
        costs.set(size, of(length), seconds)
    for size in range(1, 5):
        known = {length: costs.mean_s(size, of(length)) for each, length, _ in runs if each == size}
        beyond_s = costs.mean_s(size, of(1000))
        assert beyond_s == inf if not known else beyond_s >= known[max(known)]
        within_s = costs.mean_s(size, of(1))
        assert within_s == inf if not known else min(known.values()) <= within_s <= max(known.values())


@settings(deadline=None)
@given(count=st.integers(0, 1 << 40), more=st.integers(0, 1 << 40))
def test_rows_count_as_alike_whose_elements_differ_by_less_than_an_eighth(count: int, more: int) -> None:
    costs = RunCosts(has_shapes=True)
    kind = costs.kind(of(count))
    assert kind <= count <= kind * 1.125
    assert kind <= costs.kind(of(count + more))
    assert costs.kind(of(kind)) == kind


def test_thousands_of_lengths_are_remembered_in_few_kinds() -> None:
    costs = RunCosts(has_shapes=True)
    for length in range(1, 5001):
        costs.observe(4, of(length), 1e-6 * length)
    assert len(costs) < 100
    for length in (1, 17, 300, 4999):
        assert costs.mean_s(4, of(length)) == pytest.approx(1e-6 * length, rel=0.125)


@settings(deadline=None)
@given(runs=st.lists(st.tuples(st.integers(1, 40), st.integers(0, 100)), max_size=300))
def test_what_is_forgotten_is_not_guessed_from(runs: list[tuple[int, int]]) -> None:
    costs = RunCosts(has_shapes=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_costs, "MOST_COSTS", 16)
        for size, length in runs:
            costs.observe(size, of(length), 0.001)
            assert costs.mean_s(size, of(length)) == 0.001
    assert len(costs) <= 16
    assert {(size, kind) for size, kinds in costs._kinds.items() for kind in kinds} == set(costs._costs_s)


class CountedCosts(RunCosts):
    """Costs that count how often they are asked."""

    asked = 0

    def mean_of_kind_s(self, size: int, kind: int) -> float:
        self.asked += 1
        return super().mean_of_kind_s(size, kind)


def test_while_a_long_run_goes_on_each_lane_asks_what_its_runs_cost_once_and_not_each_turn() -> None:
    bench, signature = free()
    signature.costs = CountedCosts(has_shapes=True)
    model = served(doubling_spec((None, 3)), DoublingRunner(), 64, model="long")
    bench.registry.put(model)
    bench.send(0, np.zeros((1, 3), np.float32), model="long")
    assert begun(bench).signature.model == "long"
    for size in signature.sizes:
        signature.costs.set(size, of(50), 0.5)
    for number in range(256):
        bench.send(1 + number, np.zeros((1, 1 + number * 7), np.float32))
    assert bench.core.next_batch(bench.now, 0.002) is None
    asked = signature.costs.asked
    assert 0 < asked <= 256 * len(signature.sizes)
    for _ in range(10):
        assert bench.core.next_wakeup(0.002) is None
        assert bench.core.next_batch(bench.now, 0.002) is None
    assert signature.costs.asked == asked
    for size in signature.sizes:
        signature.costs.observe(size, of(1), 0.0001)
    batch = bench.core.next_batch(bench.now, 0.002)
    assert batch is not None
    assert batch.shapes == of(1)


def test_the_elements_are_those_of_the_largest_input() -> None:
    assert elements(((3, 4), (5,))) == 12
    assert elements(()) == elements(((),)) == 1


def free(**settings_of_model: Any) -> tuple[CoreBench, ServedSignature]:
    bench = CoreBench(FREE, max_batch_size=64, max_rows=100_000, max_bytes=1 << 30)
    model = served(doubling_spec(FREE), DoublingRunner(), 64)
    signature = replace(model.signatures["serve"], settings=ModelSettings(name="m", path=Path(), **settings_of_model))
    bench.registry.put(replace(model, signatures={"serve": signature}))
    bench.core.sweep(bench.now)
    return bench, signature


def begun(bench: CoreBench) -> Batch:
    batch = bench.core.next_batch(bench.now)
    assert batch is not None
    return batch


def ended(bench: CoreBench, batch: Batch, run_s: float) -> None:
    outputs = [np.zeros((batch.size, *batch.shapes[0]), np.float32)]
    batch.busy_s = run_s
    batch.signature.costs.observe(batch.size, batch.shapes, run_s)
    bench.core.finish(batch, [Run(batch.parts, batch.rows, batch.size, outputs, None, 0.0, run_s)])
    bench.collect()


def test_a_long_row_is_expected_to_take_long_and_a_short_one_is_not() -> None:
    bench, _ = free()
    for number, (length, run_s) in enumerate([(4, 0.0001), (500, 0.5)]):
        bench.send(number, np.zeros((1, length), np.float32))
        ended(bench, begun(bench), run_s)
    bench.send(10, np.zeros((1, 500), np.float32))
    long = begun(bench)
    assert long.expected_s == 0.5
    ended(bench, long, 0.5)
    bench.send(11, np.zeros((1, 4), np.float32))
    assert begun(bench).expected_s == 0.0001


def test_rows_of_any_length_are_bounded_by_their_elements() -> None:
    bench, _ = free(lengths=(16, 64, 256), unseen_lengths="pad", max_batch_elements=1024)
    for number in range(64 * 3):
        bench.send(number, np.zeros((1, (10, 60, 200)[number % 3]), np.float32))
    sizes: dict[int, set[int]] = {}
    while bench.core.waiting_requests:
        batch = begun(bench)
        sizes.setdefault(batch.shapes[0][0], set()).add(batch.size)
        ended(bench, batch, 0.001)
    assert sizes == {16: {64}, 64: {16}, 256: {4}}
    bench.send(1000, np.zeros((1, 256), np.float32))
    assert begun(bench).size == 1, "one row always runs, however long it is"


def test_a_bound_on_elements_where_all_rows_are_alike_is_told_to_have_no_effect() -> None:
    model = served(doubling_spec((None, 3)), DoublingRunner(), 64)
    signature = replace(model.signatures["serve"], settings=ModelSettings(name="m", path=Path(), max_batch_elements=8))
    (note,) = serving_notes({"serve": signature})
    assert "max_batch_elements = 8 has no effect" in note
    _, signature = free(max_batch_elements=8)
    assert list(serving_notes({"serve": signature})) == []


def test_when_to_come_back_counts_each_shape_by_its_own_pace() -> None:
    bench, _ = free(max_queue_rows=128)
    for number, (length, run_s) in enumerate([(4, 0.001), (500, 0.1)]):
        bench.send(number, np.zeros((1, length), np.float32))
        ended(bench, begun(bench), run_s)
    waits = []
    for length in (4, 500):
        for number in range(128):
            bench.send(100 + number, np.zeros((1, length), np.float32))
        bench.send(1000 + length, np.zeros((1, length), np.float32))
        waits.append(bench.error(1000 + length).detail["retry_after_ms"])
        while bench.core.waiting_requests:
            batch = begun(bench)
            ended(bench, batch, (0.001 if length == 4 else 0.1) * batch.rows)
        bench.answers.clear()
    assert waits[0] == pytest.approx(128, abs=2)
    assert waits[1] == 10_000, "12.8 s, and no more than the bound"


def test_batches_of_long_rows_are_kept_short_while_rows_of_another_length_are_about() -> None:
    bench, signature = free()
    for size in signature.sizes:
        signature.costs.set(size, of(500), 0.01 * size)
        signature.costs.set(size, of(4), 0.0001)
    for number in range(200):
        bench.send(number, np.zeros((1, 500), np.float32))
    batch = begun(bench)
    assert batch.rows == 64, "alone they have the engine for as long as they like"
    ended(bench, batch, 0.64)
    bench.send(1000, np.zeros((1, 4), np.float32))
    rows_of = []
    for _ in range(3):
        batch = begun(bench)
        rows_of.append((batch.shapes[0][0], batch.rows))
        ended(bench, batch, batch.signature.costs.mean_s(batch.size, batch.shapes))
    assert sorted(rows_of) == [(4, 1), (500, 2), (500, 2)]
