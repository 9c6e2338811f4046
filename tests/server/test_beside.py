"""Short batches beside a long one: which may go, for how long, and what their models pay; on a simulated clock."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictd_server.serving.batch import Batch
from tests.server.fake_model import DoublingRunner, doubling_spec, rows, served
from tests.server.pump_bench import running_pump
from tests.server.test_fair_shares import Cost, Simulation, always

WITHIN_S = 0.002


class TwoThreads(Simulation):
    """A simulation in which a long batch goes on while others run beside it."""

    def begin_beside(self) -> Batch | None:
        return self.bench.core.next_batch(self.bench.now, WITHIN_S)

    def run_beside(self) -> str | None:
        batch = self.begin_beside()
        if batch is None:
            return None
        self.end(batch)
        return batch.signature.model

    def end_long(self, batch: Batch, began_s: float) -> None:
        """End a batch after its time; the clock doesn't turn back if it went on for longer beside others."""
        ends_s = began_s + self.costs_s[batch.signature.model](batch.size)
        now = max(self.bench.now, ends_s)
        self.end(batch)
        self.bench.now = now


def begun(simulation: TwoThreads) -> Batch:
    batch = simulation.begin()
    assert batch is not None
    return batch


def test_short_batches_run_beside_a_long_one_and_long_ones_wait_for_it() -> None:
    simulation = TwoThreads({"long": always(0.2), "also long": always(0.1), "short": always(0.001)})
    simulation.send("long")
    batch = begun(simulation)
    began_s = simulation.bench.now
    simulation.send("also long")
    (asked,) = simulation.send("short")
    assert [simulation.run_beside(), simulation.run_beside()] == ["short", None]
    assert simulation.bench.receipt(asked).queue_ms == 0.0
    simulation.end_long(batch, began_s)
    assert simulation.run() == "also long"


def test_a_model_never_runs_twice_at_once() -> None:
    simulation = TwoThreads({"m1": lambda size: 0.001 if size == 1 else 0.2})
    simulation.send("m1", 64)
    begun(simulation)
    simulation.send("m1")
    assert simulation.begin_beside() is None
    assert simulation.bench.core.next_wakeup(WITHIN_S) is None


@pytest.mark.parametrize(("weight", "share"), [(1.0, 0.5), (4.0, 0.2), (0.25, 0.8)])
def test_what_runs_beside_gets_no_more_than_its_share(weight: float, share: float) -> None:
    """Of two that want all they can get, the one beside has as much as its weight says, and no less."""
    simulation = TwoThreads({"long": always(0.1), "short": always(0.001)})
    simulation.serve("long", weight=weight)
    simulation.send("long", 200, size=64)
    simulation.send("short", 2, size=64)
    core = simulation.bench.core
    while simulation.bench.now < 100 + 4:
        batch = begun(simulation)
        simulation.send("short", 1, size=64)
        if batch.signature.model == "short":
            simulation.end(batch)
            continue
        began_s = simulation.bench.now
        while simulation.bench.now < began_s + 0.1:
            if simulation.run_beside() is not None:
                simulation.send("short", 1, size=64)
            else:
                wakeup_s = core.next_wakeup(WITHIN_S)
                assert wakeup_s is not None
                assert wakeup_s > simulation.bench.now - 1e-9
                simulation.bench.now = min(max(wakeup_s, simulation.bench.now), began_s + 0.1)
        simulation.end_long(batch, began_s)
    ran_s = simulation.ran_s
    assert ran_s["short"] / (ran_s["short"] + ran_s["long"]) == pytest.approx(share, abs=0.02)


def test_who_comes_while_a_long_run_goes_on_need_not_wait_for_what_that_one_was_owed() -> None:
    simulation = TwoThreads({"long": always(1.0), "short": always(0.001)})
    for _ in range(50):
        simulation.send("short")
        simulation.send("long")
        simulation.run()
        simulation.run()
    simulation.send("long")
    begun(simulation)
    simulation.send("short")
    assert simulation.run_beside() == "short"


@pytest.mark.parametrize(
    ("cost", "waiting", "expected_rows"),
    [
        (always(0.001), 64, 64),
        (lambda size: 0.0001 * size, 5, 5),
        (lambda size: 0.0001 * size, 64, 16),
        (lambda size: 0.0015 + 0.0001 * size, 2, 2),
        (lambda size: 0.0015 + 0.0001 * size, 64, 0),
        (always(0.0021), 1, 0),
    ],
    ids=["short", "all that waits", "its part", "few", "far cheaper together", "long"],
)
def test_how_many_rows_go_beside(cost: Cost, waiting: int, expected_rows: int) -> None:
    simulation = TwoThreads({"long": always(1.0), "short": cost})
    simulation.send("long")
    begun(simulation)
    simulation.send("short", waiting)
    batch = simulation.begin_beside()
    assert (0 if batch is None else batch.rows) == expected_rows


#: Beside a long run 16 rows are short enough; of the sizes that `fair_run_s` looks at, 32 ends its search.
UNEVEN_S = {1: 0.001, 2: 0.0011, 4: 0.0012, 8: 0.0014, 16: 0.0016, 32: 0.03, 64: 0.034}


@pytest.mark.parametrize("fair_run_s", [1000.0, 0.02, 0.001])
def test_a_batch_beside_is_short_also_where_larger_ones_are_not_much_longer_for_a_row(fair_run_s: float) -> None:
    simulation = TwoThreads({"long": always(1.0), "short": lambda size: UNEVEN_S[size]}, fair_run_s=fair_run_s)
    simulation.send("long")
    begun(simulation)
    simulation.send("short", 200)
    batch = simulation.begin_beside()
    assert batch is None or batch.expected_s <= WITHIN_S
    steep = {**UNEVEN_S, 1: 0.0001, 2: 0.0002, 4: 0.0004, 8: 0.0008, 32: 0.005, 64: 0.0066}
    simulation = TwoThreads({"long": always(1.0), "short": lambda size: steep[size]}, fair_run_s=fair_run_s)
    simulation.send("long")
    begun(simulation)
    simulation.send("short", 200)
    batch = simulation.begin_beside()
    assert batch is not None
    assert batch.expected_s <= WITHIN_S


def test_a_short_model_of_a_higher_priority_never_waits_for_a_long_run_of_a_lower_one() -> None:
    """Whatever it has had before: by strict priority that is far more than its share."""
    simulation = TwoThreads({"long": always(0.5), "urgent": always(0.001)})
    simulation.serve("urgent", priority=1)
    simulation.send("long", 64 * 5)
    for _ in range(600):
        simulation.send("urgent")
        assert simulation.run() == "urgent"
    batch = begun(simulation)
    assert batch.signature.model == "long"
    for _ in range(10):
        simulation.send("urgent")
        assert simulation.run_beside() == "urgent"


def test_a_batch_beside_waits_for_its_window() -> None:
    simulation = TwoThreads({"long": always(1.0), "short": always(0.001)})
    simulation.serve("short", batch_timeout_ms=50.0)
    simulation.send("long")
    begun(simulation)
    simulation.send("short")
    assert simulation.begin_beside() is None
    assert simulation.bench.core.next_wakeup(WITHIN_S) == pytest.approx(simulation.bench.now + 0.05)
    simulation.bench.now += 0.05
    assert simulation.run_beside() == "short"


def test_a_model_that_surprised_stays_out_of_the_way() -> None:
    simulation = TwoThreads({"long": always(1.0), "short": always(0.001)})
    simulation.bench.registry.find("short", None, None).costs.observe(1, (), 3.0)
    simulation.send("long")
    begun(simulation)
    simulation.send("short")
    assert simulation.begin_beside() is None


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_nothing_is_lost_and_every_batch_beside_is_short_and_of_another_model(data: st.DataObject) -> None:
    costs: dict[str, Cost] = {"m0": always(0.3), "m1": always(0.0004), "m2": lambda size: 0.0005 * size}
    simulation = TwoThreads(costs, fair_run_s=data.draw(st.sampled_from([1000.0, 0.02, 0.0001])))
    sent: list[int] = []
    long: tuple[Batch, float] | None = None
    for _ in range(data.draw(st.integers(5, 40))):
        match data.draw(st.sampled_from(["send", "begin", "beside", "end"])):
            case "send":
                name, count = data.draw(st.sampled_from(sorted(costs))), data.draw(st.integers(1, 5))
                sent += simulation.send(name, count, size=data.draw(st.integers(1, 70)))
            case "begin" if long is None:
                batch = simulation.begin()
                long = None if batch is None else (batch, simulation.bench.now)
            case "beside" if long is not None:
                batch = simulation.begin_beside()
                if batch is not None:
                    assert batch.signature.model != long[0].signature.model
                    assert batch.expected_s <= WITHIN_S
                    simulation.end(batch)
            case "end" if long is not None:
                simulation.end_long(*long)
                long = None
    if long is not None:
        simulation.end_long(*long)
    while simulation.run() is not None:
        pass
    assert all(simulation.bench.outputs(number) for number in sent)
    assert simulation.bench.core.open_requests == 0


def test_the_pump_answers_a_short_request_while_the_engine_s_thread_is_held() -> None:
    with running_pump(inline_s=WITHIN_S) as pump:
        model = served(doubling_spec((None, 3)), DoublingRunner(), model="short")
        for size in (1, 2, 4, 8):
            model.signatures["serve"].costs.set(size, (), 0.0001)
        pump.core._registry.put(model)
        held, caller = pump.hold(), pump.caller()
        for number in range(5):
            caller.ask(number, model="short")
            np.testing.assert_array_equal(caller.answer().tensors[0].array(), rows(1, number) * 2)  # type: ignore[union-attr]
        assert pump.counters.runs_beside_total == 5
        pump.open_gate()
        held.answer()
        assert (pump.counters.runs_threaded_total, pump.counters.runs_inline_total) == (1, 0)


def test_without_inline_runs_nothing_runs_beside() -> None:
    simulation = TwoThreads({"long": always(1.0), "short": always(0.001)})
    simulation.send("long")
    begun(simulation)
    simulation.send("short")
    assert simulation.bench.core.next_batch(simulation.bench.now, 0.0) is None
    assert simulation.bench.registry.find("short", None, None).costs.expected_s(3) == inf
