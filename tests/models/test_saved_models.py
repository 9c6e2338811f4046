"""SavedModels: which of their graphs and signatures are served, and what they are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predictd_proto.errors import ModelLoadError
from predictd_server.runner import LoadedModel
from tests.models.format_table import original
from tests.models.loading_steps import default, load, names, predict

pytestmark = pytest.mark.tensorflow

ROWS = np.arange(6, dtype="float32").reshape(2, 3)


def factors(path: Path, graphs: dict[tuple[str, ...], float]) -> Path:
    """Save a graph of TensorFlow 1 for each tuple of tags; they differ in what they multiply by."""
    import tensorflow as tf

    v1 = tf.compat.v1
    builder = v1.saved_model.Builder(str(path))
    for index, (tags, factor) in enumerate(graphs.items()):
        with tf.Graph().as_default(), v1.Session() as session:
            x = v1.placeholder("float32", (None, 3), name="x")
            weight = v1.get_variable("w", (), use_resource=False, initializer=v1.constant_initializer(factor))
            define = v1.saved_model.predict_signature_def
            signatures = {
                "times": define({"x": x}, {"y": x * weight}),
                "both": define({"x": x}, {"product": x * weight, "total": tf.reduce_sum(x * weight, 1)}),
            }
            session.run(v1.global_variables_initializer())
            if index == 0:
                builder.add_meta_graph_and_variables(session, list(tags), signatures)
            else:
                builder.add_meta_graph(list(tags), signatures)
    builder.save()
    return path


def factor_of(loaded: LoadedModel) -> float:
    answer = predict(loaded.signatures["times"], ROWS)
    return float(answer[0, 1])


def test_a_graph_of_tensorflow_1_has_all_its_signatures(tmp_path: Path) -> None:
    loaded = load(factors(tmp_path / "m", {("serve",): 3.0}), (1, 2), signature="both")
    assert (sorted(loaded.signatures), loaded.default_signature) == (["both", "times"], "both")
    assert factor_of(loaded) == 3.0
    answer = predict(default(loaded), ROWS)
    np.testing.assert_array_equal(answer["product"], ROWS * 3)
    np.testing.assert_array_equal(answer["total"], (ROWS * 3).sum(1))


def test_without_a_usual_name_the_first_by_name_is_the_default(tmp_path: Path) -> None:
    assert load(factors(tmp_path / "m", {("serve",): 3.0}), (1, 2)).default_signature == "both"


def test_a_signature_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    words = "its setting `signature` is 'wrong', which it has not; it has '(times', 'both|both', 'times)'"
    with pytest.raises(ModelLoadError, match=words):
        load(factors(tmp_path / "m", {("serve",): 3.0}), signature="wrong")


@pytest.mark.parametrize("tags", [(), ("serve",), ("serve", "gpu"), ("gpu", "serve")])
def test_tags_choose_among_graphs(tags: tuple[str, ...], tmp_path: Path) -> None:
    import tensorflow as tf

    path = factors(tmp_path / "m", {("serve",): 3.0, ("serve", "gpu"): 3.0})
    loaded = load(path, (1, 2), tags=tags)
    reference = tf.saved_model.load(str(path), tags=list(tags) or ["serve"])
    expected = reference.signatures["times"](tf.constant(ROWS))["y"].numpy()
    np.testing.assert_array_equal(predict(loaded.signatures["times"], ROWS), expected)


def test_the_only_graph_needs_no_tags(tmp_path: Path) -> None:
    assert factor_of(load(factors(tmp_path / "m", {("mine", "own"): 3.0}), (1, 2))) == 3.0


@pytest.mark.parametrize(
    ("graphs", "tags"), [([("serve",)], ("gpu",)), ([("one",), ("two",)], ())], ids=["wrong tags", "no tags"]
)
def test_tags_that_no_graph_has_are_refused(graphs: list[tuple[str, ...]], tags: Any, tmp_path: Path) -> None:
    path = factors(tmp_path / "m", dict.fromkeys(graphs, 3.0))
    with pytest.raises(ModelLoadError, match=r"no graph with the tags \['(gpu|serve)'\]; it has .*: set `tags`"):
        load(path, tags=tags)


def test_an_export_of_several_endpoints_has_a_signature_for_each(tmp_path: Path) -> None:
    import keras
    import tensorflow as tf

    model = original("keras", "mlp")
    archive = keras.export.ExportArchive()
    archive.track(model)
    specs = [tf.TensorSpec((None, 8), "float32", name="x")]
    archive.add_endpoint("serve", lambda x: model(x, training=False), input_signature=specs)
    archive.add_endpoint("largest", lambda x: tf.reduce_max(model(x), axis=1), input_signature=specs)
    archive.write_out(str(tmp_path / "m"), verbose=False)
    loaded = load(tmp_path / "m", (1, 2))
    rows = np.random.default_rng(0).normal(size=(4, 8)).astype("float32")
    expected = model.predict(rows, verbose=0)
    assert sorted(loaded.signatures) == ["largest", "serve", "serving_default"]
    np.testing.assert_allclose(predict(default(loaded), rows), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(predict(loaded.signatures["largest"], rows), expected.max(1), rtol=1e-4, atol=1e-6)


class _Callable:
    """What the tests below save: functions, and no signatures."""

    @staticmethod
    def save(path: Path) -> Path:
        import tensorflow as tf

        class Module(tf.Module):  # type: ignore[misc, unused-ignore]
            def __init__(self) -> None:
                self.weight = tf.Variable(2.0)

            @tf.function
            def __call__(self, inputs: Any, training: bool = False) -> Any:
                product = inputs["left"] * self.weight + inputs["right"]
                return {"y": product + (100.0 if training else 0.0), "x": inputs["left"]}

            @tf.function
            def uneven(self, x: Any) -> Any:
                return tf.reduce_sum(x, 1)

        module = Module()
        fixed, free = (
            {side: tf.TensorSpec((rows, 3), "float32", name=side) for side in ("left", "right")} for rows in (1, None)
        )
        # As many traces as a model's life brought, training first.
        module.__call__.get_concrete_function(free, training=True)
        module.__call__.get_concrete_function(fixed)
        module.__call__.get_concrete_function(free, training=False)
        module.uneven.get_concrete_function(tf.RaggedTensorSpec((None, None), "float32"))
        tf.saved_model.save(module, str(path))
        return path


def test_a_call_without_signature_is_served_as_keras_tfsm_layer_calls_it(tmp_path: Path) -> None:
    import keras

    path = _Callable.save(tmp_path / "m")
    loaded = load(path, (1, 2))
    assert list(loaded.signatures) == ["call"]
    assert names(default(loaded).spec) == (["left", "right"], ["x", "y"])
    assert [tensor.shape for tensor in default(loaded).spec.inputs] == [(None, 3), (None, 3)]
    layer = keras.layers.TFSMLayer(path, call_endpoint="__call__")
    expected = layer({"left": ROWS, "right": ROWS + 1})
    answer = predict(default(loaded), {"left": ROWS, "right": ROWS + 1})
    np.testing.assert_array_equal(answer["y"], expected["y"].numpy())


def test_an_endpoint_that_takes_ragged_tensors_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="endpoint 'uneven' takes something other than dense tensors"):
        load(_Callable.save(tmp_path / "m"), signature="uneven")


def test_a_ragged_signature_is_served_as_its_parts(tmp_path: Path) -> None:
    import tensorflow as tf

    class Module(tf.Module):  # type: ignore[misc, unused-ignore]
        @tf.function(input_signature=[tf.RaggedTensorSpec((None, None), "float32")])
        def __call__(self, x: Any) -> Any:
            return {"y": tf.reduce_sum(x, 1)}

    module = Module()
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=module.__call__)
    loaded = load(tmp_path / "m", (1, 2))
    signature = default(loaded)
    assert not signature.are_rows_independent or signature.synthesise is None
    uneven = tf.ragged.constant([[1.0, 2.0], [], [3.0]])
    by_dtype = {"float32": uneven.flat_values.numpy(), "int64": uneven.row_splits.numpy()}
    answer = predict(signature, {tensor.name: by_dtype[tensor.dtype] for tensor in signature.spec.inputs})
    np.testing.assert_array_equal(answer, [3.0, 0.0, 3.0])


def test_a_signature_without_inputs_is_left_out(tmp_path: Path) -> None:
    import tensorflow as tf

    class Module(tf.Module):  # type: ignore[misc, unused-ignore]
        @tf.function(input_signature=[])
        def labels(self) -> Any:
            return {"labels": tf.constant(["a", "b"])}

        @tf.function(input_signature=[tf.TensorSpec((None, 3), "float32", name="x")])
        def serve(self, x: Any) -> Any:
            return {"y": x + 1}

    module = Module()
    signatures = {"labels": module.labels, "serve": module.serve}
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=signatures)
    assert list(load(tmp_path / "m", (1, 2)).signatures) == ["serve"]
    with pytest.raises(ModelLoadError, match="signature 'labels' has 0 inputs"):
        load(tmp_path / "m", signature="labels")
