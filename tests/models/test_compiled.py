"""XLA: a graph is compiled only where that is asked for, right, faster, and where all shapes are known beforehand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predictd_server.models.settings import ModelSettings
from predictd_server.runner import CompilingRunner
from predictd_server.trials.warm_sizes import warm_sizes
from tests.models import keras_zoo
from tests.models.loading_steps import LADDER, default, load, read, saved

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def compiled_is_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the clock says."""
    from predictd_server.tensorflow import selection

    def costs(runners: Any, trial: Any) -> list[float]:
        return [0.0 if runner.kind == "session-xla" else math.log(2.0) for runner in runners]

    monkeypatch.setattr(selection, "_costs", costs)


@pytest.mark.parametrize(("kind", "limit_bytes"), [("mlp", 0), ("cnn", 300), ("mlp", 1 << 20)])
def test_it_answers_what_the_graph_answers(kind: str, limit_bytes: int, tmp_path: Path) -> None:
    import tensorflow as tf

    from predictd_server.tensorflow.compiled_graph import build_compiled_session
    from predictd_server.tensorflow.flat_graph import flatten

    source = read(saved(getattr(keras_zoo, kind)(), tmp_path / "m.keras"))
    [traced] = source.signatures.values()
    runner = build_compiled_session(flatten(traced.function), limit_bytes)
    for rows in (1, 5):
        inputs = keras_zoo.ZOO[kind][1](rows)
        expected = traced.function(tf.constant(inputs))[0].numpy()
        np.testing.assert_allclose(runner.run([inputs])[0], expected, rtol=1e-4, atol=1e-6)
    assert isinstance(runner, CompilingRunner)
    assert runner.traces == 2
    runner.close()


def test_sizes_that_will_be_left_out_are_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second way is faster with 64 rows only, which answer fewer rows a second than 8."""
    from predictd_server.tensorflow import selection
    from predictd_server.trials.agreement import Tolerance

    taken = {1: [0.001, 0.0015], 8: [0.006, 0.009], 64: [0.4, 0.1]}
    monkeypatch.setattr(selection, "shortest_runs_s", lambda runners, inputs, seconds: taken[len(inputs[0])])
    trial = selection._Trial({rows: [np.zeros((rows, 1))] for rows in taken}, {}, Tolerance.SINGLE)
    first, second = selection._costs([], trial)
    assert second - first == pytest.approx(math.log(1.5))
    # Where it pays, it counts.
    taken[64] = [0.04, 0.01]
    first, second = selection._costs([], trial)
    assert second < first


@pytest.mark.usefixtures("compiled_is_fastest")
def test_after_the_warm_up_nothing_more_is_compiled(tmp_path: Path) -> None:
    loaded = load(saved(keras_zoo.mlp(), tmp_path / "m.keras"), xla=True)
    signature = default(loaded)
    assert signature.runner.kind == "session-xla"
    assert loaded.notes == ()
    sizes, _ = warm_sizes(signature, LADDER, ModelSettings(name="m", path=tmp_path))
    before = loaded.traced()
    assert before > len(LADDER)
    assert signature.synthesise is not None
    for size in sizes:
        signature.runner.run(signature.synthesise(size))
    assert loaded.traced() == before
    loaded.close()


def test_it_is_not_tried_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from predictd_server.tensorflow import selection

    monkeypatch.setattr(selection, "build_compiled_session", pytest.fail)
    assert default(load(saved(keras_zoo.mlp(), tmp_path / "m.keras"))).runner.kind == "session"


@pytest.mark.usefixtures("compiled_is_fastest")
def test_wrong_answers_are_no_gain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from predictd_server.tensorflow import compiled_graph

    run = compiled_graph.CompiledRunner.run
    monkeypatch.setattr(compiled_graph.CompiledRunner, "run", lambda self, inputs: [y + 0.1 for y in run(self, inputs)])
    loaded = load(saved(keras_zoo.mlp(), tmp_path / "m.keras"), xla=True)
    assert default(loaded).runner.kind == "session"
    assert [note.split(": ")[1:] for note in loaded.notes] == [
        [
            "xla = true has no effect",
            "compiled it isn't clearly faster, or not right, and it runs as 'session'; remove it",
        ]
    ]


@pytest.mark.usefixtures("compiled_is_fastest")
def test_what_xla_has_not_got_runs_as_before(tmp_path: Path) -> None:
    import tensorflow as tf

    class Lookup(tf.Module):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            values = tf.lookup.KeyValueTensorInitializer([b"a", b"b"], [7, 8], tf.string, tf.int64)
            self.table = tf.lookup.StaticHashTable(values, -1)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="x")])
        def serve(self, x: Any) -> Any:
            return {"y": self.table.lookup(x)}

    module = Lookup()
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=module.serve)
    loaded = load(tmp_path / "m", xla=True)
    assert default(loaded).runner.kind == "session"
    assert "xla = true has no effect: compiled it isn't clearly faster, or not right" in loaded.notes[-1]


def test_shapes_that_callers_choose_are_never_compiled(tmp_path: Path) -> None:
    import keras

    x = keras.Input((None, 4), name="x")
    loaded = load(saved(keras.Model(x, keras.layers.Dense(2)(x)), tmp_path / "m.keras"), xla=True)
    assert default(loaded).runner.kind == "session"
    assert "its inputs have free axes, and each new shape would be compiled while a request waits" in loaded.notes[-1]
