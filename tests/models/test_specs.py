"""Signatures say what Keras and TensorFlow say: names, dtypes, shapes and nesting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predictd_proto.errors import ModelLoadError
from predictd_proto.metadata import SignatureSpec
from tests.models import keras_zoo
from tests.models.loading_steps import default, load, names, predict, saved

pytestmark = pytest.mark.tensorflow


def spec_of(model: Any, path: Path) -> SignatureSpec:
    return default(load(saved(model, path), ladder=(1, 2))).spec


def shown(spec: SignatureSpec) -> list[str]:
    return [f"{tensor.name} {tensor}" for tensor in (*spec.inputs, *spec.outputs)]


def test_a_sequential_model_has_its_inputs_name_and_its_last_layers(tmp_path: Path) -> None:
    import keras

    layers = [keras.Input((4,), name="features"), keras.layers.Dense(3), keras.layers.Dense(2, name="scores")]
    spec = spec_of(keras.Sequential(layers), tmp_path / "m.keras")
    assert shown(spec) == ["features float32[rows, 4]", "scores float32[rows, 2]"]
    assert (spec.input_structure, spec.output_structure) == ("features", "scores")


def test_lists_keep_the_order_of_the_model(tmp_path: Path) -> None:
    spec = spec_of(keras_zoo.two_inputs(), tmp_path / "m.keras")
    assert names(spec) == (["right", "left"], ["first", "second"])
    assert (spec.input_structure, spec.output_structure) == (["right", "left"], ["first", "second"])


def test_dicts_keep_their_keys(tmp_path: Path) -> None:
    spec = spec_of(keras_zoo.dicts(), tmp_path / "m.keras")
    assert spec.input_structure == {"right": "right", "left": "left"}
    assert spec.output_structure == {"score": "score", "also": "also"}


def test_nested_trees_are_kept(tmp_path: Path) -> None:
    spec = spec_of(keras_zoo.nested(), tmp_path / "m.keras")
    assert spec.input_structure == ["left", {"inner": "right"}]
    assert spec.output_structure == {"pair": list(names(spec)[1])}


def test_a_list_of_one_is_its_tensor(tmp_path: Path) -> None:
    spec = spec_of(keras_zoo.list_of_one(), tmp_path / "m.keras")
    assert (spec.input_structure, spec.output_structure) == ("x", "y")


def test_several_outputs_of_one_layer_get_names_of_their_own(tmp_path: Path) -> None:
    spec = spec_of(keras_zoo.gru_states(), tmp_path / "m.keras")
    assert names(spec)[1] == ["gru", "gru_1"]
    assert shown(spec)[1:] == ["gru float32[rows, 5, 3]", "gru_1 float32[rows, 3]"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("text", "line string[rows]"),
        ("pixels", "image uint8[rows, 6, 6, 3]"),
        ("masked", "ids int64[rows, length]"),
        ("bfloat16", "x bfloat16[rows, 8]"),
        ("switches", "flags bool[rows, 3]"),
        ("any_size", "image float32[rows, a, b, 1]"),
    ],
)
def test_dtypes_and_free_axes_are_the_models_own(kind: str, expected: str, tmp_path: Path) -> None:
    spec = spec_of(keras_zoo.ZOO[kind][0](), tmp_path / "m.keras")
    assert shown(spec)[0] == expected


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_a_fixed_axis_0_stays_fixed(ending: str, tmp_path: Path) -> None:
    import keras

    x = keras.Input((3,), batch_size=4, name="x")
    loaded = load(saved(keras.Model(x, keras.layers.Dense(2)(x)), tmp_path / f"m{ending}"))
    signature = default(loaded)
    assert [tensor.shape for tensor in (*signature.spec.inputs, *signature.spec.outputs)] == [(4, 3), (4, 2)]
    assert predict(signature, np.ones((4, 3), "float32")).shape == (4, 2)


def test_an_export_of_keras_has_one_graph_under_two_names(tmp_path: Path) -> None:
    loaded = load(saved(keras_zoo.mlp(), tmp_path / "m"))
    assert sorted(loaded.signatures) == ["serve", "serving_default"]
    assert loaded.signatures["serve"].runner is loaded.signatures["serving_default"].runner
    assert loaded.signatures["serve"].spec.name == "serve"


def test_a_saved_model_of_several_functions_has_a_signature_for_each(tmp_path: Path) -> None:
    import tensorflow as tf

    class Codec(tf.Module):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            self.factor = tf.Variable(3.0)

        @tf.function(input_signature=[tf.TensorSpec((None, 2), tf.float32, name="plain")])
        def encode(self, plain: Any) -> Any:
            return {"coded": plain * self.factor, "sum": tf.reduce_sum(plain, 1)}

        @tf.function(input_signature=[tf.TensorSpec((None, 2), tf.float32, name="coded")])
        def decode(self, coded: Any) -> Any:
            return {"plain": coded / self.factor}

    codec = Codec()
    tf.saved_model.save(codec, str(tmp_path / "m"), signatures={"encode": codec.encode, "decode": codec.decode})
    loaded = load(tmp_path / "m", ladder=(1, 2))
    rows = np.array([[1.0, 2.0]], "float32")
    encoded = predict(loaded.signatures["encode"], rows)
    assert loaded.default_signature == "decode"
    assert loaded.signatures["encode"].spec.output_structure == {"coded": "coded", "sum": "sum"}
    np.testing.assert_allclose(encoded["sum"], [3.0])
    np.testing.assert_allclose(predict(loaded.signatures["decode"], encoded["coded"]), rows)


def test_an_unknown_number_of_output_axes_is_found_by_running(tmp_path: Path) -> None:
    import tensorflow as tf

    class Shapeless(tf.Module):  # type: ignore[misc, unused-ignore]
        @tf.function(input_signature=[tf.TensorSpec((None, 2), tf.float32, name="x")])
        def __call__(self, x: Any) -> Any:
            y = tf.raw_ops.PlaceholderWithDefault(input=x * 2.0, shape=tf.TensorShape(None))
            return {"y": y}

    tf.saved_model.save(Shapeless(), str(tmp_path / "m"))
    assert shown(default(load(tmp_path / "m")).spec)[1] == "y float32[rows, length]"


def test_a_subclassed_model_takes_what_it_was_built_with(tmp_path: Path) -> None:
    import keras

    @keras.saving.register_keras_serializable("predictd_tests")
    class Pair(keras.Model):  # type: ignore[misc, unused-ignore]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.dense = keras.layers.Dense(2)

        def call(self, inputs: Any) -> Any:
            return {"both": self.dense(inputs["a"]) + self.dense(inputs["b"])}

    model = Pair()
    rows = {"a": np.ones((5, 3), "float32"), "b": np.full((5, 3), 2, "float32")}
    expected = model.predict(rows, verbose=0)
    loaded = load(saved(model, tmp_path / "m.keras"))
    assert default(loaded).spec.input_structure == {"a": "a", "b": "b"}
    assert [tensor.shape for tensor in default(loaded).spec.inputs] == [(None, 3), (None, 3)]
    np.testing.assert_allclose(predict(default(loaded), rows)["both"], expected["both"], rtol=1e-5)


def test_sparse_inputs_are_refused(tmp_path: Path) -> None:
    import keras

    x = keras.Input((3,), sparse=True, name="x")
    path = saved(keras.Model(x, keras.layers.Dense(2)(x)), tmp_path / "m.keras")
    with pytest.raises(ModelLoadError, match="input 'x' is sparse; expected a dense one"):
        load(path)


def test_facts_of_a_model_are_told(tmp_path: Path) -> None:
    path = saved(keras_zoo.mlp(), tmp_path / "m.keras")
    loaded = load(path)
    assert loaded.parameters == 8 * 16 + 16 + 16 * 3 + 3
    assert loaded.weight_bytes == 4 * loaded.parameters
    assert loaded.digest.startswith("sha256:")
    assert loaded.source == str(path)
