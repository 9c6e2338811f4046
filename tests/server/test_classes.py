"""Classes of callers: shares by weight, priorities, windows and bounds of their own; on a simulated clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictd_proto.messages import CancelRequest, ErrorResponse
from predictd_server.serving.batch import Batch
from predictd_server.serving.caller_class import CallerClass
from tests.server.fake_model import CoreBench, rows
from tests.server.test_fair_shares import Cost, Simulation, always

WEB, BULK = CallerClass(name="web"), CallerClass(name="bulk")
FIRST = CallerClass(name="first", priority=1)


class ClassSimulation(Simulation):
    """A simulation whose callers have classes."""

    def __init__(self, costs_s: dict[str, Cost], classes: Sequence[CallerClass], **options: Any) -> None:
        super().__init__(costs_s, classes=classes, **options)
        self.batches: list[Batch] = []

    def ask(self, caller: str, count: int = 1, size: int = 1, model: str = "m") -> list[int]:
        ids = [next(self._ids) for _ in range(count)]
        for number in ids:
            self.bench.send(number, rows(size, number % 1000), model=model, caller_class=caller)
        return ids

    def begin(self) -> Batch | None:
        batch = super().begin()
        if batch is not None:
            self.batches.append(batch)
        return batch

    def took(self) -> dict[str, int]:
        """Return the rows of each class in the last batch, and run it first."""
        assert self.run() is not None
        taken: dict[str, int] = defaultdict(int)
        for part in self.batches[-1].parts:
            assert part.request.caller is not None
            taken[part.request.caller.name] += part.rows
        return dict(taken)

    def part(self, caller: str, model: str = "m") -> Any:
        parts = self.bench.core.admission.models[model].parts
        return next(part for each, part in parts.items() if each.name == caller)


@pytest.mark.parametrize(("weights", "share"), [((1.0, 1.0), 0.5), ((3.0, 1.0), 0.75), ((0.5, 4.5), 0.1)])
def test_classes_that_want_a_model_all_the_time_share_it_by_weight(weights: tuple[float, float], share: float) -> None:
    classes = [CallerClass(name=name, weight=weight) for name, weight in zip(("web", "bulk"), weights, strict=True)]
    simulation = ClassSimulation({"m": lambda size: 0.001 * size}, classes)
    for _ in range(400):
        for name in ("web", "bulk"):
            if simulation.bench.now == 100.0 or simulation.part(name).rows < 64:
                simulation.ask(name, 3, size=40)
        simulation.run()
    web, bulk = simulation.part("web"), simulation.part("bulk")
    assert web.ran_s / (web.ran_s + bulk.ran_s) == pytest.approx(share, abs=0.02)


def test_a_flood_of_one_class_keeps_another_waiting_for_the_run_that_is_on() -> None:
    simulation = ClassSimulation({"m": always(0.1)}, [WEB, BULK])
    simulation.ask("bulk", 64 * 10)
    for _ in range(5):
        simulation.run()
        (asked,) = simulation.ask("web")
        assert simulation.took() == {"web": 1, "bulk": 63}
        assert simulation.bench.receipt(asked).batch_rows == 64


def test_rows_that_the_first_class_leaves_are_filled_by_the_others() -> None:
    simulation = ClassSimulation({"m": always(0.1)}, [WEB, BULK, FIRST])
    simulation.ask("bulk", 20)
    simulation.ask("web", 20)
    simulation.ask("first", 40)
    assert simulation.took() == {"first": 40, "bulk": 20, "web": 4}
    assert simulation.took() == {"web": 16}


def test_a_class_with_a_higher_priority_goes_first_in_its_model_and_before_other_models() -> None:
    simulation = ClassSimulation({"m": always(0.1), "other": always(0.1)}, [BULK, FIRST], priority_wait_s=1000.0)
    simulation.ask("bulk", 64 * 3)
    simulation.ask("bulk", 64 * 3, model="other")
    simulation.ask("first", 64 * 2)
    simulation.ask("first", 64 * 1, model="other")
    assert [simulation.took() for _ in range(3)] == [{"first": 64}] * 3
    assert [simulation.run() for _ in range(6)].count("other") == 3


def test_a_model_s_priority_is_added_to_that_of_the_class() -> None:
    simulation = ClassSimulation({"m": always(0.1), "urgent": always(0.1)}, [BULK, FIRST], priority_wait_s=1000.0)
    simulation.serve("urgent", priority=2)
    simulation.ask("first", 64 * 2)
    simulation.ask("bulk", 64 * 2, model="urgent")
    simulation.ask("first", 64 * 2, model="urgent")
    ran = [(simulation.run(), simulation.batches[-1].parts[0].request.caller) for _ in range(6)]
    assert [name for name, _ in ran] == ["urgent"] * 4 + ["m"] * 2
    assert [caller.name for _, caller in ran if caller is not None] == ["first"] * 2 + ["bulk"] * 2 + ["first"] * 2


def test_without_classes_models_have_priorities_too() -> None:
    simulation = Simulation({"m": always(0.1), "urgent": always(0.1)})
    simulation.serve("urgent", priority=1)
    simulation.send("m", 64 * 3)
    simulation.send("urgent", 64 * 2)
    assert [simulation.run() for _ in range(5)] == ["urgent"] * 2 + ["m"] * 3


def test_a_lower_priority_gets_a_batch_each_time_it_was_passed_over_for_the_bound() -> None:
    simulation = ClassSimulation({"m": always(0.1)}, [BULK, FIRST], priority_wait_s=0.45)
    simulation.ask("bulk", 64 * 10)
    simulation.ask("first", 64 * 40)
    took = [next(iter(simulation.took())) for _ in range(24)]
    assert took == (["first"] * 5 + ["bulk"]) * 4


def test_long_batches_are_kept_short_while_callers_with_a_higher_priority_are_about() -> None:
    simulation = ClassSimulation({"m": lambda size: 0.1 * size / 64}, [BULK, FIRST], fair_run_s=0.02)
    simulation.ask("bulk", 64 * 3)
    assert simulation.took() == {"bulk": 64}
    simulation.ask("first")
    assert simulation.took() == {"first": 1, "bulk": 63}
    assert simulation.took() == {"bulk": 8}
    simulation.bench.now += 2.0
    assert simulation.took() == {"bulk": 56 + 1}


def test_nothing_runs_beside_a_batch_of_a_higher_priority() -> None:
    simulation = ClassSimulation({"m": always(1.0), "short": always(0.001)}, [BULK, FIRST])
    simulation.ask("first")
    assert simulation.begin() is not None
    simulation.ask("bulk", model="short")
    assert simulation.bench.core.next_batch(simulation.bench.now, 0.002) is None
    simulation.ask("first", model="short")
    batch = simulation.bench.core.next_batch(simulation.bench.now, 0.002)
    assert batch is not None
    assert [part.request.caller for part in batch.parts] == [FIRST, BULK]


def test_a_class_s_window_counts_for_it_and_its_batch_takes_the_others_along() -> None:
    hasty = CallerClass(name="hasty", batch_timeout_ms=0.0)
    simulation = ClassSimulation({"m": always(0.001)}, [BULK, hasty])
    simulation.serve("m", batch_timeout_ms=50.0)
    simulation.ask("bulk", 3)
    assert simulation.begin() is None
    assert simulation.bench.core.next_wakeup() == pytest.approx(simulation.bench.now + 0.05)
    simulation.ask("hasty")
    assert simulation.took() == {"hasty": 1, "bulk": 3}


def test_callers_of_no_class_and_of_an_unknown_one_are_the_default_class() -> None:
    quick = CallerClass(name="default", priority=1)
    for classes, names in (([BULK], ("", "nobody", "default")), ([BULK, quick], ("", "nobody", "default"))):
        simulation = ClassSimulation({"m": always(0.1)}, classes)
        simulation.ask("bulk")
        for name in names:
            simulation.ask(name)
            simulation.ask(name)
        assert simulation.took() == {"default": 6, "bulk": 1}
        assert simulation.bench.counters.unknown_classes_total == 2
        assert simulation.part("default").requests_total == 6


def test_where_no_class_is_set_names_mean_nothing() -> None:
    bench = CoreBench()
    bench.send(1, rows(1), caller_class="web")
    bench.send(2, rows(1), caller_class="bulk")
    bench.run_one()
    assert bench.receipt(2).batch_rows == 2
    assert bench.counters.unknown_classes_total == 0


def test_requests_that_ask_the_same_share_a_run_only_with_callers_of_their_class() -> None:
    simulation = ClassSimulation({"m": always(0.1)}, [BULK, FIRST], max_batch_size=1)
    simulation.serve("m", cache_bytes=1000, max_batch_size=1)
    for number, caller in enumerate(["bulk", "bulk", "first"]):
        simulation.bench.send(number, rows(1), caller_class=caller, model="m")
    assert simulation.took() == {"first": 1}
    simulation.run()
    assert [simulation.bench.receipt(number).closed_by for number in range(3)] == ["idle", "joined", "idle"]


def test_what_became_of_each_class_is_counted() -> None:
    small = CallerClass(name="small", max_queue_rows=8)
    simulation = ClassSimulation({"m": always(0.5)}, [BULK, small])
    simulation.ask("small", size=6)
    (refused,) = simulation.ask("small", size=3)
    error = simulation.bench.error(refused)
    assert error.code == "overloaded"
    assert "full for callers of class 'small': 6 rows of theirs wait" in error.message
    assert "its bound is max_queue_rows = 8" in error.message
    simulation.bench.now += 1.5
    simulation.run()
    part = simulation.part("small")
    assert (part.requests_total, part.rows_total, part.refused_total, part.rows) == (1, 6, 1, 0)
    assert (part.queue_s, part.ran_s) == (pytest.approx(1.5), pytest.approx(0.5))


def test_what_a_class_got_of_another_s_batches_keeps_it_out_for_no_longer_than_a_turn_of_its_own() -> None:
    simulation = ClassSimulation({"m": always(0.1)}, [WEB, BULK])
    for _ in range(200):
        simulation.ask("web", 2)
        simulation.ask("bulk", 62)
        assert simulation.took() == {"web": 2, "bulk": 62}
    simulation.ask("bulk", 64)
    simulation.ask("web", 64 * 8)
    led = [next(iter(simulation.took())) for _ in range(6)]
    assert "bulk" in led[:3], led


@pytest.mark.parametrize(("weights", "share"), [((2.0, 1.0), 2 / 3), ((1.1, 1.0), 0.52), ((1.0, 1.5), 0.4)])
def test_what_one_class_leaves_of_its_batches_the_others_share_by_weight(
    weights: tuple[float, float], share: float
) -> None:
    riding = [CallerClass(name=name, weight=weight) for name, weight in zip(("web", "bulk"), weights, strict=True)]
    simulation = ClassSimulation({"m": always(0.1)}, [CallerClass(name="light", weight=5.0), *riding])
    rows_of: dict[str, int] = defaultdict(int)
    for _ in range(100):
        simulation.ask("light", 2)
        for name in ("web", "bulk"):
            waiting = simulation.part(name).rows if len(simulation.batches) else 0
            simulation.ask(name, 128 - waiting)
        for name, count in simulation.took().items():
            rows_of[name] += count
    assert rows_of["light"] == 200
    assert rows_of["web"] / (rows_of["web"] + rows_of["bulk"]) == pytest.approx(share, abs=0.03)


def test_a_request_larger_than_its_class_s_bound_is_admitted_when_none_of_it_waits() -> None:
    simulation = ClassSimulation({"m": always(0.5)}, [CallerClass(name="small", max_queue_rows=8)])
    (asked,) = simulation.ask("small", size=20)
    simulation.run()
    assert simulation.bench.outputs(asked)[0].shape == (20, 3)


@settings(deadline=None, max_examples=50)
@given(weights=st.lists(st.sampled_from([0.5, 1.0, 2.0, 8.0]), min_size=1, max_size=4), flood=st.integers(0, 3))
def test_a_flood_leaves_each_other_class_what_is_kept_for_it(weights: list[float], flood: int) -> None:
    classes = [CallerClass(name=f"c{index}", weight=weight) for index, weight in enumerate(weights)]
    bench = CoreBench(max_batch_size=64, max_rows=400, max_bytes=1 << 30, classes=classes)
    names = [*[each.name for each in classes], "default"]
    ids = iter(range(100_000))
    flooding = names[flood % len(names)]

    def admitted(name: str) -> int:
        count = 0
        while True:
            number = next(ids)
            bench.send(number, rows(1), caller_class=name)
            if isinstance(bench.answers.get((b"p", number)), ErrorResponse):
                return count
            count += 1

    total = sum(weights) + 1.0
    assert admitted(flooding) >= 200
    for name, weight in zip(names, [*weights, 1.0], strict=True):
        if name != flooding:
            assert admitted(name) >= int(200 * weight / total)
    assert bench.core.admission.models["m"].counted_rows <= 400
    while bench.run_one():
        pass
    assert all(part.rows == 0 for part in bench.core.admission.models["m"].parts.values())


def test_a_flood_by_bytes_leaves_room_too() -> None:
    bench = CoreBench((None, 100), max_rows=100_000, max_bytes=100_000, classes=[WEB, BULK])
    array = np.zeros((1, 100), np.float32)
    for number in range(300):
        bench.send(number, array, caller_class="bulk")
    refused = [number for number in range(300) if (b"p", number) in bench.answers]
    assert refused
    assert "kept for other classes" in bench.error(refused[0]).message
    bench.send(1000, array, caller_class="web")
    assert (b"p", 1000) not in bench.answers
    bench.run_all()
    assert set(bench.core.admission._class_bytes.values()) == {0}


CALLERS = ["web", "bulk", "first", "", "nobody"]


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_nothing_is_lost_and_each_class_is_served_in_order(data: st.DataObject) -> None:
    wait_s = data.draw(st.sampled_from([0.0, 0.3, 1000.0]))
    simulation = ClassSimulation(
        {"m": lambda size: 0.01 * size, "n": always(0.2)}, [WEB, BULK, FIRST], priority_wait_s=wait_s, fair_run_s=0.05
    )
    sent: dict[int, tuple[str, str, int]] = {}
    cancelled: set[int] = set()
    began: dict[tuple[str, str], list[int]] = defaultdict(list)
    for _ in range(data.draw(st.integers(1, 40))):
        match data.draw(st.sampled_from(["send", "send", "run", "cancel", "late"])):
            case "send":
                caller, name = data.draw(st.sampled_from(CALLERS)), data.draw(st.sampled_from(["m", "n"]))
                size = data.draw(st.sampled_from([1, 2, 40, 64, 65, 200]))
                (number,) = simulation.ask(caller, size=size, model=name)
                sent[number] = (caller, name, size)
            case "run":
                simulation.run()
            case "cancel" if sent:
                number = data.draw(st.sampled_from(sorted(sent)))
                simulation.bench.send_message(CancelRequest(id=number))
                cancelled.add(number)
            case "late":
                simulation.bench.now += data.draw(st.sampled_from([0.1, 2.0]))
    while simulation.run() is not None:
        pass
    for batch in simulation.batches:
        assert batch.rows <= 64
        assert {part.request.signature.model for part in batch.parts} == {batch.signature.model}
        for part in batch.parts:
            assert part.request.caller is not None
            if part.start == 0 and part.request.rows <= 64:
                began[batch.signature.model, part.request.caller.name].append(part.request.id)
    assert all(ids == sorted(ids) for ids in began.values()), "of what fits a batch, a later request went first"
    for number, (_, _, size) in sent.items():
        if (b"p", number) in simulation.bench.answers or number not in cancelled:
            assert simulation.bench.outputs(number)[0].shape == (size, 3)
    admission = simulation.bench.core.admission
    assert (admission.requests, admission.rows, admission.bytes) == (0, 0, 0)
    for model in admission.models.values():
        assert (model.rows, model.counted_rows) == (0, 0) or not simulation.begin()
        assert all(part.rows == 0 for part in model.parts.values())


@settings(deadline=None, max_examples=100)
@given(
    larges=st.lists(st.integers(65, 2000), min_size=1, max_size=5),
    smalls=st.lists(st.integers(1, 64), min_size=1, max_size=30),
    before=st.integers(0, 6),
)
def test_a_small_request_waits_for_one_batch_of_large_ones_for_each_of_small_ones_before_it(
    larges: list[int], smalls: list[int], before: int
) -> None:
    """So the first waits for one, however many large ones there are; and small ones don't keep large ones out."""
    simulation = Simulation({"m": always(0.1)})
    order: list[Batch] = []
    begin = simulation.begin

    def noted() -> Batch | None:
        batch = begin()
        if batch is not None:
            order.append(batch)
        return batch

    simulation.begin = noted  # type: ignore[method-assign]
    for size in larges:
        simulation.send("m", size=size)
    for _ in range(before):
        simulation.run()
    del order[:]
    ids = [simulation.send("m", size=size)[0] for size in smalls]
    while simulation.run() is not None:
        pass
    at = {part.request.id: index for index, batch in enumerate(order) for part in batch.parts if part.request.id in ids}
    batches_of_smalls = 0
    room = 0
    for number, size in zip(ids, smalls, strict=True):
        if size > room:
            batches_of_smalls, room = batches_of_smalls + 1, 64
        room -= size
        assert at[number] <= 2 * batches_of_smalls - 1
    large_rows = [sum(part.rows for part in batch.parts if part.request.id not in ids) for batch in order]
    for index in range(len(order) - 1):
        if sum(large_rows[index + 1 :]) >= 64:
            assert 2 * large_rows[index] >= order[index].rows or large_rows[index + 1] == 64
