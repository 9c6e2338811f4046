"""Each graph runs the cheapest way that is right, and none that isn't."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predictd_proto.errors import ModelLoadError
from tests.models import keras_zoo
from tests.models.loading_steps import default, load, predict, read, saved

pytestmark = pytest.mark.tensorflow

ROWS = np.arange(6, dtype="float32").reshape(2, 3) / 10


def module(path: Path, call: Callable[[Any, Any], Any], *, dtype: str = "float32", shape: Any = (None, 3)) -> Path:
    """Save a module with a variable, a counter, tables and a generator, of which `call` uses what it wants."""
    import tensorflow as tf

    class Module(tf.Module):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            self.weight = tf.Variable(tf.ones((3, 2)))
            self.count = tf.Variable(0.0)
            self.random = tf.random.Generator.from_seed(1)
            self.known = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
            self.known.insert([b"a", b"b"], [7, 8])

    holder = Module()
    function = tf.function(lambda x: call(holder, x), input_signature=[tf.TensorSpec(shape, dtype, name="x")])
    holder.function = function
    tf.saved_model.save(holder, str(path), signatures=function)
    return path


def legacy(path: Path, build: Callable[[Any], tuple[Any, Any]]) -> Path:
    """Save a graph as TensorFlow 1 did."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x, y = build(v1)
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        builder = v1.saved_model.Builder(str(path))
        signature = v1.saved_model.predict_signature_def({"x": x}, {"y": y})
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"serving_default": signature}, main_op=v1.tables_initializer()
        )
        builder.save()
    return path


@pytest.mark.parametrize(("limit_bytes", "ops"), [(0, {"VarHandleOp"}), (1 << 20, {"Const"})])
def test_weights_are_constants_only_within_the_limit(limit_bytes: int, ops: set[str], tmp_path: Path) -> None:
    import tensorflow as tf

    from predictd_server.tensorflow.flat_graph import flatten
    from predictd_server.tensorflow.private_graph import build_session
    from predictd_server.tensorflow.weights import choose_constants, shared_array

    path = saved(keras_zoo.cnn(), tmp_path / "m.keras")
    source = read(path)
    [traced] = source.signatures.values()
    flat = flatten(traced.function)
    values = {name: shared_array(variable.read_value()) for name, variable in flat.variables.items()}
    assert len(choose_constants(flat, values, limit_bytes)) == (len(values) if ops == {"Const"} else 0)
    rows = keras_zoo.ZOO["cnn"][1](5)
    expected = traced.function(tf.constant(rows))[0].numpy()
    np.testing.assert_allclose(build_session(flat, limit_bytes).run([rows])[0], expected, rtol=1e-4, atol=1e-6)


def test_smaller_weights_become_constants_first(tmp_path: Path) -> None:
    from predictd_server.tensorflow.flat_graph import flatten
    from predictd_server.tensorflow.weights import choose_constants, shared_array

    path = saved(keras_zoo.mlp(), tmp_path / "m.keras")
    source = read(path)
    [traced] = source.signatures.values()
    flat = flatten(traced.function)
    values = {name: shared_array(variable.read_value()) for name, variable in flat.variables.items()}
    chosen = choose_constants(flat, values, 12 + 64 + 192)
    assert sorted(values[name].shape for name in chosen) == [(3,), (16,), (16, 3)]


def test_weights_that_are_looked_up_in_place_stay_variables(tmp_path: Path) -> None:
    import tensorflow as tf

    from predictd_server.tensorflow.flat_graph import flatten
    from predictd_server.tensorflow.weights import choose_constants, shared_array

    def call(self: Any, x: Any) -> Any:
        return {"y": tf.gather(self.weight, tf.cast(x, tf.int32))}

    path = module(tmp_path / "m", call)
    source = read(path)
    [traced] = source.signatures.values()
    flat = flatten(traced.function)
    values = {name: shared_array(variable.read_value()) for name, variable in flat.variables.items()}
    assert [use.node.op for uses in flat.uses.values() for use in uses] == ["ResourceGather"]
    assert choose_constants(flat, values, 1 << 20) == set()
    assert default(load(path)).runner.kind == "session"


def test_tables_are_taken_along(tmp_path: Path) -> None:
    loaded = load(module(tmp_path / "m", lambda self, x: {"y": self.known.lookup(x)}, dtype="string", shape=(None,)))
    assert default(loaded).runner.kind == "session"
    words = np.array([b"b", b"nothing", b"a"], dtype=object)
    assert predict(default(loaded), words).tolist() == [8, -1, 7]


def test_control_flow_runs_in_a_session(tmp_path: Path) -> None:
    import tensorflow as tf

    def call(self: Any, x: Any) -> Any:
        def body(i: Any, y: Any) -> Any:
            return i + 1, y + tf.reduce_sum(self.weight)

        return {"y": tf.while_loop(lambda i, y: i < 3, body, [0, x])[1]}

    loaded = load(module(tmp_path / "m", call))
    assert default(loaded).runner.kind == "session"
    np.testing.assert_allclose(predict(default(loaded), ROWS), ROWS + 18)


@pytest.mark.parametrize("use_resource", [True, False])
@pytest.mark.parametrize(("limit_bytes", "kind"), [(1 << 20, "session"), (8, "session-v1")])
def test_a_graph_of_tensorflow_1_is_frozen_if_its_variables_are_small(
    limit_bytes: int, kind: str, use_resource: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from predictd_server.tensorflow import session_signature

    freeze = session_signature.freeze
    monkeypatch.setattr("predictd_server.tensorflow.selection.freeze", lambda traced, _: freeze(traced, limit_bytes))

    def build(v1: Any) -> tuple[Any, Any]:
        x = v1.placeholder("float32", (None, 3), name="x")
        weight = v1.get_variable("w", (3, 2), use_resource=use_resource, initializer=v1.ones_initializer())
        return x, v1.matmul(x, weight)

    loaded = load(legacy(tmp_path / "m", build))
    assert default(loaded).runner.kind == kind
    assert (loaded.parameters, loaded.weight_bytes) == (6, 24)
    np.testing.assert_allclose(predict(default(loaded), ROWS), ROWS @ np.ones((3, 2)), rtol=1e-6)


def test_a_table_of_tensorflow_1_runs_in_its_loaders_session(tmp_path: Path) -> None:
    import tensorflow as tf

    def build(v1: Any) -> tuple[Any, Any]:
        x = v1.placeholder("string", (None,), name="x")
        contents = tf.lookup.KeyValueTensorInitializer([b"a"], tf.constant([5], tf.int64))
        return x, tf.lookup.StaticHashTable(contents, -1).lookup(x)

    loaded = load(legacy(tmp_path / "m", build))
    assert default(loaded).runner.kind == "session-v1"
    assert predict(default(loaded), np.array([b"a", b"z"], dtype=object)).tolist() == [5, -1]


def test_a_state_that_changes_no_answer_is_kept_and_run_as_it_is(tmp_path: Path) -> None:
    def call(self: Any, x: Any) -> Any:
        self.count.assign_add(1.0)
        return {"y": x @ self.weight}

    loaded = load(module(tmp_path / "m", call))
    assert default(loaded).runner.kind == "concrete-function"
    assert "AssignAddVariableOp" in loaded.notes[0]


def test_a_state_that_changes_answers_is_refused(tmp_path: Path) -> None:
    def call(self: Any, x: Any) -> Any:
        return {"y": x + self.count.assign_add(1.0)}

    with pytest.raises(ModelLoadError, match=r"keeps a state between calls.*stateful=False"):
        load(module(tmp_path / "m", call))


def test_a_stateful_rnn_is_refused(tmp_path: Path) -> None:
    import keras

    layers = [keras.Input((5, 3), batch_size=2), keras.layers.LSTM(4, stateful=True)]
    with pytest.raises(ModelLoadError, match=r"m\.keras: signature .* mix the data of all callers"):
        load(saved(keras.Sequential(layers), tmp_path / "m.keras"))


def test_random_answers_stay_random(tmp_path: Path) -> None:
    loaded = load(module(tmp_path / "m", lambda self, x: {"y": x + self.random.normal((3,))}))
    signature = default(loaded)
    assert signature.runner.kind == "concrete-function"
    assert "random" in loaded.notes[0]
    assert (predict(signature, ROWS) != predict(signature, ROWS)).any()


def test_dropout_that_is_on_in_serving_stays_on(tmp_path: Path) -> None:
    import keras

    @keras.saving.register_keras_serializable("predictd_tests")
    class AlwaysDropout(keras.layers.Dropout):  # type: ignore[misc, unused-ignore]
        def call(self, inputs: Any, training: bool | None = None) -> Any:
            return super().call(inputs, training=True)

    x = keras.Input((50,), name="x")
    loaded = load(saved(keras.Model(x, AlwaysDropout(0.5)(x)), tmp_path / "m.keras"))
    rows = np.ones((1, 50), "float32")
    assert default(loaded).runner.kind == "concrete-function"
    assert (predict(default(loaded), rows) != predict(default(loaded), rows)).any()


@pytest.mark.parametrize(
    "call",
    [
        lambda self, x: {"y": x - _mean(x)},
        lambda self, x: {"y": _mean(x)},
    ],
    ids=["mixes rows", "one answer for all rows"],
)
def test_rows_that_depend_on_each_other_are_noticed(call: Callable[[Any, Any], Any], tmp_path: Path) -> None:
    loaded = load(module(tmp_path / "m", call))
    assert not default(loaded).are_rows_independent
    assert "never merge" in loaded.notes[0]


def _mean(x: Any) -> Any:
    import tensorflow as tf

    return tf.reduce_mean(x, 0)


def test_images_as_strings_are_understood(tmp_path: Path) -> None:
    import tensorflow as tf

    def call(self: Any, x: Any) -> Any:
        def decode(image: Any) -> Any:
            return tf.image.resize(tf.io.decode_png(image, channels=1), (2, 2))

        return {"y": tf.map_fn(decode, x, fn_output_signature=tf.TensorSpec((2, 2, 1), tf.float32))}

    loaded = load(module(tmp_path / "m", call, dtype="string", shape=(None,)))
    assert default(loaded).runner.kind == "session"
    assert default(loaded).synthesise is not None


def test_an_input_that_nobody_can_make_up_is_served_unwarmed(tmp_path: Path) -> None:
    import tensorflow as tf

    def call(self: Any, x: Any) -> Any:
        with tf.control_dependencies([tf.debugging.assert_equal(x, b"open sesame")]):
            return {"y": tf.strings.length(x)}

    loaded = load(module(tmp_path / "m", call, dtype="string", shape=(None,)))
    assert default(loaded).runner.kind == "concrete-function"
    assert default(loaded).synthesise is None
    assert "made-up" in loaded.notes[0]
    assert predict(default(loaded), np.array([b"open sesame"], dtype=object)).tolist() == [11]


def test_a_graph_that_always_fails_is_refused(tmp_path: Path) -> None:
    import tensorflow as tf

    def call(self: Any, x: Any) -> Any:
        return {"y": tf.ensure_shape(x, (7, 3))}

    with pytest.raises(ModelLoadError, match="failed on every made-up input"):
        load(module(tmp_path / "m", call))


def test_a_graph_that_fails_from_some_size_on_names_it_and_loads_with_smaller_batches(tmp_path: Path) -> None:
    import tensorflow as tf

    def call(self: Any, x: Any) -> Any:
        with tf.control_dependencies([tf.debugging.assert_less_equal(tf.shape(x)[0], 5, "too many rows")]):
            return {"y": x * 2}

    path = module(tmp_path / "m", call)
    expected = (
        r"it runs with 4 rows and fails with 8 rows of made-up inputs \(x float32\[8, 3\]\): .*too many rows.*; "
        "set max_batch_size = 4"
    )
    with pytest.raises(ModelLoadError, match=expected):
        load(path)
    assert default(load(path, ladder=(1, 2, 4))).are_rows_independent


def test_a_session_with_wrong_answers_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from predictd_server.tensorflow import selection

    class Wrong:
        kind, closed = "session", 0

        def run(self, inputs: Any) -> Any:
            return [array[:, :3] + 1 for array in inputs]

        def close(self) -> None:
            Wrong.closed += 1

    monkeypatch.setattr(selection, "build_session", lambda *arguments: Wrong())
    with caplog.at_level(logging.INFO):
        loaded = load(saved(keras_zoo.mlp(), tmp_path / "m.keras"))
    assert default(loaded).runner.kind == "concrete-function"
    assert Wrong.closed == 1
    assert "differs by up to" in caplog.text


def test_a_training_step_beside_the_model_is_left_out(tmp_path: Path) -> None:
    import tensorflow as tf

    class Trainable(tf.Module):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            self.weight = tf.Variable(1.0)

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, name="x")])
        def serve(self, x: Any) -> Any:
            return {"y": x * self.weight}

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, name="x")])
        def train(self, x: Any) -> Any:
            return {"loss": self.weight.assign_add(1.0) * x}

    model = Trainable()
    signatures = {"serving_default": model.serve, "train": model.train}
    tf.saved_model.save(model, str(tmp_path / "m"), signatures=signatures)
    loaded = load(tmp_path / "m")
    assert list(loaded.signatures) == ["serving_default"]
    assert predict(default(loaded), np.array([2.0], "float32")).tolist() == [2.0]
