"""Several models on one engine: each gets its share of time, none keeps another from its turn, on a simulated clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictd_server.models.settings import ModelSettings
from predictd_server.serving.batch import Batch, Run
from predictd_server.serving.caller_class import CallerClass
from predictd_server.serving.fair_shares import FairShares, Share
from predictd_server.serving.ladder import batch_ladder
from predictd_server.serving.served import ServedSignature
from tests.server.fake_model import CoreBench, DoublingRunner, doubling_spec, rows, served

#: Seconds of a run, by rows.
Cost = Callable[[int], float]


def always(run_s: float) -> Cost:
    return lambda _: run_s


class Simulation:
    """A core whose runs take the time that the test says, by model, and no real time."""

    def __init__(
        self,
        costs_s: dict[str, Cost],
        fair_run_s: float = 1000.0,
        classes: Sequence[CallerClass] = (),
        priority_wait_s: float = 1.0,
        **set_for_all: Any,
    ) -> None:
        self.bench = CoreBench(
            max_rows=100_000,
            max_bytes=1 << 30,
            fair_run_s=fair_run_s,
            classes=classes,
            priority_wait_s=priority_wait_s,
        )
        self.costs_s = costs_s
        self.began: list[tuple[float, str, int]] = []
        self.ran_s: dict[str, float] = defaultdict(float)
        self._ids = iter(range(1_000_000))
        for name in costs_s:
            self.serve(name, **set_for_all)

    def serve(self, name: str, **set_for_model: Any) -> ServedSignature:
        model = served(doubling_spec((None, 3)), DoublingRunner(), 64, model=name)
        made = model.signatures["serve"]
        sizes = batch_ladder(set_for_model.get("max_batch_size", 64))
        signature = replace(
            made,
            sizes=sizes,
            settings=ModelSettings(name=name, path=Path(), **set_for_model),
        )
        for size in sizes:
            signature.costs.set(size, (), self.costs_s[name](size))
        self.bench.registry.put(replace(model, signatures={"serve": signature}))
        return signature

    def send(self, name: str, count: int = 1, size: int = 1) -> list[int]:
        ids = [next(self._ids) for _ in range(count)]
        for number in ids:
            self.bench.send(number, rows(size, number), model=name)
        return ids

    def begin(self) -> Batch | None:
        batch = self.bench.core.next_batch(self.bench.now)
        if batch is not None:
            self.began.append((self.bench.now, batch.signature.model, batch.rows))
        return batch

    def end(self, batch: Batch) -> None:
        name = batch.signature.model
        batch.busy_s = self.costs_s[name](batch.size)
        self.bench.now += batch.busy_s
        self.ran_s[name] += batch.busy_s
        outputs = [np.zeros((batch.size, 3), np.float32)]
        self.bench.core.finish(batch, [Run(batch.parts, batch.rows, batch.size, outputs, None, 0.0, batch.busy_s)])
        self.bench.collect()

    def run(self) -> str | None:
        batch = self.begin()
        if batch is None:
            return None
        self.end(batch)
        return batch.signature.model


@settings(deadline=None, max_examples=100)
@given(
    users=st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.001, 1)), min_size=2, max_size=6),
    scale=st.floats(0.5, 1.5),
)
def test_who_waits_all_the_time_gets_its_share_to_within_a_run(users: list[tuple[float, float]], scale: float) -> None:
    shares, fair = [Share(weight) for weight, _ in users], FairShares()
    for share in shares:
        fair.enter(share)
    longest = [run_s * 1.5 / weight for weight, run_s in users]
    for turn in range(500):
        index = min(range(len(users)), key=lambda each: shares[each].virtual_s)
        fair.choose(shares[index])
        fair.charge(shares[index], users[index][1] * (scale if turn % 2 else 1.0))
        apart = max(share.virtual_s for share in shares) - min(share.virtual_s for share in shares)
        assert apart <= max(longest) + 1e-9


@pytest.mark.parametrize(("weights", "share"), [((1.0, 1.0), 0.5), ((3.0, 1.0), 0.75), ((1.0, 9.0), 0.1)])
def test_models_that_want_the_engine_all_the_time_share_it_by_weight(
    weights: tuple[float, float], share: float
) -> None:
    simulation = Simulation({"slow": lambda size: 0.1 * size / 64, "fast": lambda size: 0.001 + 0.0001 * size})
    for name, weight in zip(("slow", "fast"), weights, strict=True):
        simulation.serve(name, weight=weight)
    while simulation.bench.now < 100 + 8:
        for name in simulation.costs_s:
            waiting = simulation.bench.core.admission.models.get(name)
            if waiting is None or waiting.rows < 64:
                simulation.send(name, 1, size=128)
        simulation.run()
    total_s = sum(simulation.ran_s.values())
    assert simulation.ran_s["slow"] / total_s == pytest.approx(share, abs=0.02)


def test_between_two_long_batches_of_a_slow_model_the_rows_of_a_fast_one_run() -> None:
    simulation = Simulation({"slow": lambda _: 0.2, "fast": lambda _: 0.001})
    simulation.send("slow", 64 * 20)
    for _ in range(10):
        assert simulation.run() == "slow"
        simulation.send("fast", 3)
        assert simulation.run() == "fast"
    assert [name for _, name, _ in simulation.began] == ["slow", "fast"] * 10


def test_a_pause_earns_no_credit() -> None:
    simulation = Simulation({"eager": lambda _: 0.01, "late": lambda _: 0.01})
    simulation.send("eager", 64 * 400)
    for _ in range(300):
        simulation.run()
    simulation.send("late", 64 * 50)
    turns = [simulation.run() for _ in range(20)]
    assert turns.count("late") == turns.count("eager") == 10


def test_after_everybody_rested_old_debts_are_forgotten() -> None:
    simulation = Simulation({"slow": lambda _: 30.0, "fast": lambda _: 0.01})
    simulation.send("slow")
    simulation.run()
    simulation.bench.now += 3600
    simulation.send("fast", 64 * 10)
    simulation.send("slow")
    assert "slow" in [simulation.run() for _ in range(2)]


def test_signatures_of_one_model_share_its_part_and_get_no_more_by_being_several() -> None:
    simulation = Simulation({"m1": lambda _: 0.01, "m2": lambda _: 0.01})
    model = simulation.bench.registry
    one = simulation.bench.registry.find("m1", None, None)
    two = replace(one, spec=replace(one.spec, name="other"))
    metadata = replace(model.metadata("m1")[0], signatures=(one.spec, two.spec))
    model.put(
        replace(
            served(one.spec, DoublingRunner(), 64, model="m1"),
            metadata=metadata,
            signatures={
                "serve": one,
                "other": two,
            },
        )
    )
    simulation.send("m1", 64 * 20)
    simulation.send("m2", 64 * 20)
    for number in range(64 * 20):
        simulation.bench.send(100_000 + number, rows(1, number), model="m1", signature="other")
    for _ in range(40):
        simulation.run()
    assert simulation.ran_s["m1"] == pytest.approx(simulation.ran_s["m2"], abs=0.011)
    waiting = simulation.bench.core.admission.models["m1"].rows
    assert waiting == 64 * 20, "the two signatures of m1 had 10 batches each"


@settings(deadline=None, max_examples=30)
@given(
    runs_s=st.lists(st.floats(0.001, 0.5), min_size=2, max_size=5),
    weights=st.lists(st.sampled_from([0.5, 1.0, 2.0, 4.0]), min_size=5, max_size=5),
    arrivals=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 130)), min_size=20, max_size=60),
)
def test_nobody_waits_longer_than_the_others_take_to_catch_up_with_its_own_last_run(
    runs_s: list[float], weights: list[float], arrivals: list[tuple[int, int]]
) -> None:
    """The bound of `fair_shares`: own last run x others' weights / own weight, and one run more of each other."""
    names = [f"m{index}" for index in range(len(runs_s))]
    simulation = Simulation({name: always(run_s) for name, run_s in zip(names, runs_s, strict=True)})
    for name, weight in zip(names, weights, strict=False):
        simulation.serve(name, weight=weight)
    for index, count in arrivals:
        simulation.send(names[index % len(names)], count)
        simulation.run()
    admission = simulation.bench.core.admission
    since: dict[str, float] = {name: simulation.bench.now for name in names}
    while any(model.rows for model in admission.models.values()):
        ran = simulation.run()
        assert ran is not None
        for index, (name, run_s, weight) in enumerate(zip(names, runs_s, weights, strict=False)):
            model = admission.models.get(name)
            if ran == name or model is None or not model.rows:
                since[name] = simulation.bench.now
                continue
            others = [other for other in range(len(names)) if other != index]
            bound_s = sum(run_s * weights[other] / weight + 2 * runs_s[other] for other in others)
            assert simulation.bench.now - since[name] <= bound_s + 1e-6


def linear(size: int) -> float:
    return 0.1 * size / 64


def test_while_another_model_wants_the_engine_long_batches_are_kept_short() -> None:
    simulation = Simulation({"slow": linear, "fast": lambda _: 0.001}, fair_run_s=0.02)
    ids = simulation.send("slow", 64 * 4)
    simulation.run()
    assert simulation.began[-1][2] == 64, "alone it has the engine for as long as it likes"
    simulation.send("fast")
    simulation.run()
    simulation.run()
    assert simulation.began[-1][1:] == ("slow", 8), "the fast one's callers are about to send their next"
    message = simulation.bench.receipt(ids[64])
    assert (message.closed_by, message.batch_rows) == ("shared", 8)
    simulation.bench.now += 2.0
    simulation.run()
    assert simulation.began[-1][2] == 64, "the fast one has been quiet for long"


@pytest.mark.parametrize(
    ("cost", "expected_rows"),
    [
        (linear, 8),
        (lambda size: 0.08 + 0.02 * size / 64, 64),
        (lambda size: 0.02 + 0.08 * size / 64, 32),
        (lambda size: 0.004 + 0.4 * size / 64, 4),
        (lambda size: 0.5 * size, 1),
    ],
    ids=["linear", "flat", "half-flat", "steep", "every row is long"],
)
def test_a_batch_is_kept_short_only_where_that_costs_its_model_little(cost: Cost, expected_rows: int) -> None:
    simulation = Simulation({"slow": cost, "fast": lambda _: 0.001}, fair_run_s=0.02)
    simulation.send("fast")
    simulation.run()
    simulation.send("slow", 64)
    simulation.run()
    assert simulation.began[-1][1:] == ("slow", expected_rows)


def test_a_request_larger_than_a_short_batch_is_cut_and_joined() -> None:
    simulation = Simulation({"slow": linear, "fast": lambda _: 0.001}, fair_run_s=0.02)
    (number,) = simulation.send("slow", size=20)
    simulation.send("fast")
    while simulation.run() is not None:
        pass
    assert simulation.bench.outputs(number)[0].shape == (20, 3)
    assert simulation.bench.receipt(number).batches == 3


def test_each_model_has_a_queue_bound_of_its_own_and_says_when_it_has_room() -> None:
    simulation = Simulation({"slow": lambda _: 1.0, "fast": lambda _: 0.001})
    simulation.serve("slow", max_queue_rows=64)
    simulation.send("slow")
    simulation.run()
    simulation.send("slow", 64)
    (refused,) = simulation.send("slow")
    error = simulation.bench.error(refused)
    assert error.code == "overloaded"
    assert "model 'slow'" in error.message
    assert "max_queue_rows = 64" in error.message
    assert error.detail["retry_after_ms"] == 10_000, "64 rows at a row a second, and no more than the bound"
    admitted = simulation.send("fast", 1000)
    while simulation.run() is not None:
        pass
    assert all(simulation.bench.outputs(number) for number in admitted)


def test_when_to_come_back_takes_the_other_models_share_into_account() -> None:
    simulation = Simulation({"m1": lambda _: 0.064, "m2": lambda _: 0.064})
    for name in ("m1", "m2"):
        simulation.serve(name, max_queue_rows=128, weight=1.0 if name == "m1" else 3.0)
        simulation.send(name, 64)
        simulation.run()
    simulation.send("m1", 128)
    alone = simulation.bench.error(simulation.send("m1")[0]).detail["retry_after_ms"]
    simulation.send("m2", 1)
    shared = simulation.bench.error(simulation.send("m1")[0]).detail["retry_after_ms"]
    assert (alone, shared) == (128, 512)


def test_each_model_has_a_batch_size_and_a_window_of_its_own() -> None:
    simulation = Simulation({"patient": lambda _: 0.001, "hasty": lambda _: 0.001})
    simulation.serve("patient", batch_timeout_ms=50.0)
    simulation.serve("hasty", max_batch_size=4)
    (patient,) = simulation.send("patient")
    hasty = simulation.send("hasty", 6)
    assert [simulation.run(), simulation.run(), simulation.run()] == ["hasty", "hasty", None]
    assert [simulation.bench.receipt(number).batch_rows for number in hasty] == [4, 4, 4, 4, 2, 2]
    simulation.bench.now += 0.05
    assert simulation.run() == "patient"
    assert simulation.bench.receipt(patient).closed_by == "window"


def test_a_lane_made_anew_after_the_models_changed_makes_nobody_wait_for_the_time_before() -> None:
    bench = CoreBench((None, None), max_rows=100_000)
    ids = iter(range(100_000))

    def send(length: int, count: int) -> None:
        for _ in range(count):
            bench.send(next(ids), np.zeros((1, length), np.float32))

    def run() -> int:
        batch = bench.core.next_batch(bench.now)
        assert batch is not None
        batch.busy_s = 1.0
        outputs = [np.zeros((batch.size, *batch.shapes[0]), np.float32)]
        bench.core.finish(batch, [Run(batch.parts, batch.rows, batch.size, outputs, None, 0.0, 1.0)])
        bench.collect()
        return batch.shapes[0][0]

    for length in (2, 3):
        send(length, 8 * 20)
    assert [run() for _ in range(40)].count(2) == 20
    bench.registry.put(served(doubling_spec((None, 3)), DoublingRunner(), model="other"))
    bench.core.sweep(bench.now)
    send(2, 8 * 20)
    run()
    send(3, 8 * 5)
    assert [run() for _ in range(10)].count(3) == 5
