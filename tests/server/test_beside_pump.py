"""What runs on the pump's thread beside a long run: replaced, failing, stuck, and while the server stops."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import numpy as np

from predictd_proto.messages import ErrorResponse, PredictResponse
from predictd_server.engine import Engine
from predictd_server.models.registry import ServedModel
from predictd_server.serving.counters import Counters
from predictd_server.watchdog import Watchdog
from tests.server.fake_model import POISON, CoreBench, DoublingRunner, doubling_spec, rows, served
from tests.server.pump_bench import GATE, Caller, GatedRunner, PumpBench, running_pump

INLINE_S = 0.002


def serve_short(pump: PumpBench, runner: DoublingRunner) -> ServedModel:
    model = served(doubling_spec((None, 3)), runner, model="short")
    for size in (1, 2, 4, 8):
        model.signatures["serve"].costs.set(size, (), 0.0001)
    pump.core._registry.put(model)
    return model


def answered(caller: Caller) -> np.ndarray[Any, Any]:
    message = caller.answer()
    assert isinstance(message, PredictResponse), message
    return message.tensors[0].array()


class TriplingRunner(DoublingRunner):
    """The next version of the model."""

    def run(self, inputs):
        return [array * 3 for array in inputs]


def test_a_model_that_is_replaced_while_a_long_run_goes_on_answers_beside_it_with_the_new_one() -> None:
    with running_pump(inline_s=INLINE_S) as pump:
        before = serve_short(pump, DoublingRunner())
        held, caller = pump.hold(), pump.caller()
        caller.ask(1, rows(1), model="short")
        np.testing.assert_array_equal(answered(caller), rows(1) * 2)
        serve_short(pump, TriplingRunner())
        caller.ask(2, rows(1), model="short")
        np.testing.assert_array_equal(answered(caller), rows(1) * 3)
        assert pump.counters.runs_beside_total == 2
        assert not before.signatures["serve"].is_needed
        pump.open_gate()
        answered(held)


def test_a_run_beside_that_raises_fails_its_own_request_alone() -> None:
    with running_pump(inline_s=INLINE_S) as pump:
        serve_short(pump, DoublingRunner())
        held, caller = pump.hold(), pump.caller()
        caller.ask(1, np.full((1, 3), POISON, np.float32), model="short")
        message = caller.answer()
        assert isinstance(message, ErrorResponse)
        assert message.code == "prediction_failed"
        caller.ask(2, rows(1), model="short")
        np.testing.assert_array_equal(answered(caller), rows(1) * 2)
        pump.open_gate()
        answered(held)


def test_a_server_that_stops_while_two_runs_go_on_answers_both() -> None:
    with running_pump(inline_s=INLINE_S) as pump:
        short = GatedRunner()
        serve_short(pump, short)
        held, caller = pump.hold(), pump.caller()
        caller.ask(1, np.full((1, 3), GATE, np.float32), model="short")
        assert short.is_running.wait(60)
        pump.frontend.drain(time.monotonic() + 60)
        short.gate.set()
        np.testing.assert_array_equal(answered(caller), np.full((1, 3), 2 * GATE))
        caller.ask(2, rows(1), model="short")
        message = caller.answer()
        assert isinstance(message, ErrorResponse)
        assert message.code == "draining"
        pump.open_gate()
        answered(held)
        assert pump.frontend.join(60)


def test_the_watchdog_finds_a_run_beside_that_never_ends() -> None:
    with running_pump(inline_s=INLINE_S) as pump:
        short = GatedRunner()
        serve_short(pump, short)
        pump.hold()
        caller = pump.caller()
        caller.ask(1, np.full((1, 3), GATE, np.float32), model="short")
        assert short.is_running.wait(60)
        now = [time.monotonic()]
        parts: dict[str, Any] = {
            "engine": SimpleNamespace(is_alive=True, busy_since_s=None),
            "control": SimpleNamespace(is_alive=True),
        }
        dog = Watchdog(frontend=pump.frontend, **parts, stuck_after_s=10.0, clock=lambda: now[0])
        assert dog.diagnose() is None
        said = []
        for _ in range(25):
            now[0] += 0.5
            said.append(dog.diagnose())
        assert said[0] is None
        assert "the data pump has not turned" in str(said[-1])
        short.gate.set()


def test_a_run_beside_counts_as_the_last_run_and_leaves_the_long_one_s_time_alone() -> None:
    bench = CoreBench()
    engine = Engine(Counters(), wake=lambda: None)
    engine.busy_since_s = 1.0
    bench.send(1, rows(1))
    batch = bench.core.next_batch(bench.now)
    assert batch is not None
    bench.core.finish(batch, engine.run_beside(batch))
    assert engine.last_run_s is not None
    assert engine.busy_since_s == 1.0
