"""A model that was replaced is let go of: nothing that was remembered of it keeps it in memory."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np

from predictd_server.engine import Engine
from predictd_server.serving.counters import Counters
from tests.server.fake_model import CoreBench, DoublingRunner, doubling_spec, rows, served


class TriplingRunner(DoublingRunner):
    """Answers `3 * x`: the next version of the model."""

    def run(self, inputs):
        return [array * 3 for array in inputs]


def test_a_replaced_model_is_gone_once_its_last_request_is_answered_and_the_new_one_answers() -> None:
    bench = CoreBench()
    for number in range(3):
        # The second and third are recognised by their bytes.
        bench.send(number, rows(1), timeout_ms=1000.0)
        bench.run_all()
    bench.send(3, rows(1), timeout_ms=1000.0)
    replaced = weakref.ref(bench.runner)
    bench.runner = TriplingRunner()
    bench.registry.put(served(doubling_spec((None, 3)), bench.runner))
    bench.send(4, rows(1), timeout_ms=1000.0)
    bench.run_all()
    np.testing.assert_array_equal(bench.outputs(3)[0], rows(1) * 2)
    np.testing.assert_array_equal(bench.outputs(4)[0], rows(1) * 3)
    assert bench.core.next_batch(bench.now) is None
    gc.collect()
    assert replaced() is None


def test_a_replaced_model_that_nobody_asks_for_any_more_is_gone_too() -> None:
    bench = CoreBench()
    bench.send(1, rows(1), timeout_ms=1000.0)
    bench.run_all()
    replaced = weakref.ref(bench.runner)
    bench.runner = TriplingRunner()
    bench.registry.put(served(doubling_spec((None, 3)), bench.runner))
    assert bench.core.next_batch(bench.now) is None
    gc.collect()
    assert replaced() is None


def test_a_replaced_model_whose_last_requests_expired_before_they_ran_is_gone_too() -> None:
    bench = CoreBench()
    bench.send(1, rows(1), timeout_ms=1.0)
    bench.now += 1.0
    assert not bench.run_one()
    assert bench.error(1).code == "expired_in_queue"
    replaced = weakref.ref(bench.runner)
    bench.runner = TriplingRunner()
    bench.registry.put(served(doubling_spec((None, 3)), bench.runner))
    assert bench.core.next_batch(bench.now) is None
    gc.collect()
    assert replaced() is None


def test_the_engine_lets_go_of_the_batch_that_it_ran() -> None:
    bench = CoreBench()
    woken = threading.Event()
    engine = Engine(Counters(), wake=woken.set)
    engine.start()
    try:
        bench.send(1, rows(1))
        batch = bench.core.next_batch(bench.now)
        assert batch is not None
        engine.submit(batch)
        assert woken.wait(60)
        done = engine.collect()
        assert done is not None
        bench.core.finish(*done)
        replaced = weakref.ref(bench.runner)
        bench.runner = TriplingRunner()
        bench.registry.put(served(doubling_spec((None, 3)), bench.runner))
        bench.core.next_batch(bench.now)
        del batch, done
        gc.collect()
        assert replaced() is None
    finally:
        engine.stop()
