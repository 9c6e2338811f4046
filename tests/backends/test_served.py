"""Keras' files served by a real daemon on JAX and on PyTorch answer as Keras does on the same backend."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import predictd
from tests.backends.conftest import Served
from tests.backends.local_answers import ROWS, flat
from tests.backends.zoo_files import NAMES
from tests.models.keras_zoo import ZOO

pytestmark = pytest.mark.integration

#: Inputs, outputs, as they are with TensorFlow; but for what is 64 bits wide, which JAX answers with 32.
SPECS = {
    "mlp": (["x float32[rows, 8]"], ["dense_1 float32[rows, 3]"]),
    "lstm": (["series float32[rows, length, 4]"], ["dense_3 float32[rows, 2]"]),
    "gru_states": (["steps float32[rows, 5, 4]"], ["gru float32[rows, 5, 3]", "gru_1 float32[rows, 3]"]),
    "pixels": (["image uint8[rows, 6, 6, 3]"], ["dense_8 float32[rows, 2]"]),
    "masked": (["ids int64[rows, length]"], ["lstm_1 float32[rows, 3]"]),
    "bfloat16": (["x bfloat16[rows, 8]"], ["dense_12 bfloat16[rows, 3]"]),
    "switches": (["flags bool[rows, 3]"], ["logical_not bool[rows, 3]"]),
    "any_size": (["image float32[rows, a, b, 1]"], ["global_average_pooling2d float32[rows, 4]"]),
}


@pytest.mark.parametrize("name", [*NAMES, "hdf5"])
def test_answers_are_those_of_keras(served: Served, name: str) -> None:
    rows = ZOO["cnn" if name == "hdf5" else name][1](ROWS)
    answer = flat(predictd.RemoteModel(name, endpoint=served.daemon.endpoint).predict(rows, verbose=0))
    expected = served.answers[name]
    assert sorted(answer) == sorted(expected)
    loose = name in {"bfloat16", "mixed_precision"}
    for path, array in expected.items():
        assert (answer[path].dtype, answer[path].shape) == (array.dtype, array.shape), path
        np.testing.assert_allclose(answer[path], array, rtol=2e-2 if loose else 1e-4, atol=1e-2 if loose else 1e-5)


@pytest.mark.parametrize("name", SPECS)
def test_specs_are_those_of_tensorflow(served: Served, name: str) -> None:
    with served.daemon.client() as client:
        [metadata] = [model for model in client.models() if model.name == name]
    spec = metadata.signature()
    assert spec is not None
    shown = [[f"{tensor.name} {tensor}" for tensor in tensors] for tensors in (spec.inputs, spec.outputs)]
    inputs, outputs = SPECS[name]
    assert shown[0] == inputs
    # The layers' numbers are those of the process that built them.
    assert [text.split()[1:] for text in shown[1]] == [text.split()[1:] for text in outputs]


def test_requests_at_once_get_their_own_rows(served: Served) -> None:
    rows = ZOO["mlp"][1](ROWS)
    with served.daemon.client() as client, ThreadPoolExecutor(8) as pool:
        predictions = list(pool.map(lambda index: client.predict("mlp", rows[index : index + 1]), range(ROWS)))
    got = np.concatenate([np.asarray(prediction.outputs) for prediction in predictions])
    np.testing.assert_allclose(got, served.answers["mlp"][""], rtol=1e-4, atol=1e-5)


def test_metadata_name_the_runner_and_what_was_compiled(served: Served) -> None:
    with served.daemon.client() as client:
        models = {model.name: model for model in client.models()}
    kinds = {model.runner for model in models.values() if model.is_ready}
    assert kinds <= ({"jax-jit"} if served.backend == "jax" else {"torch-eager", "torch-export"})
    assert models["mlp"].batch_sizes == (1, 2, 4, 8)
    assert (models["mlp"].parameters, models["mlp"].weight_bytes) == (195, 780)
    # A program for each of the four batch sizes, and one for the trial with three rows.
    assert models["mlp"].traces == (5 if served.backend == "jax" else 0)


def test_the_process_never_had_tensorflow(served: Served) -> None:
    maps = Path(f"/proc/{served.daemon.pid}/maps").read_text(encoding="utf-8")
    assert "tensorflow" not in maps
    assert ("jaxlib" if served.backend == "jax" else "libtorch") in maps
    runtime = served.daemon.status().runtime
    assert runtime["backend"] == served.backend
    assert {"keras", served.backend, "devices", "intra_op_threads"} <= set(runtime)


def test_a_length_that_was_never_seen_is_answered_and_told(served: Served) -> None:
    model = predictd.RemoteModel("lstm", endpoint=served.daemon.endpoint)
    series = np.random.default_rng(5).normal(size=(3, 23, 4)).astype("float32")
    together = model.predict(series, verbose=0)
    alone = np.concatenate([model.predict(series[index : index + 1], verbose=0) for index in range(3)])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)
    assert ("while a request waited" in served.daemon.log) == (served.backend == "jax")


def test_a_request_that_the_model_can_not_take_is_told_in_its_own_words(served: Served) -> None:
    if served.backend == "jax":
        pytest.skip("JAX answers an image that is too small with NaN, here and in Keras")
    model = predictd.RemoteModel("any_size", endpoint=served.daemon.endpoint)
    with pytest.raises(predictd.PredictionError) as caught:
        model.predict(np.zeros((1, 2, 2, 1), np.float32), verbose=0)
    assert "Arguments received" not in str(caught.value)
    assert "Exception encountered" not in str(caught.value)


def test_numbers_that_do_not_fit_jax_are_refused_not_cut(served: Served) -> None:
    model = predictd.RemoteModel("masked", endpoint=served.daemon.endpoint)
    if served.backend == "torch":
        pytest.skip("PyTorch computes with 64 bits")
    with pytest.raises(predictd.PredictionError, match="JAX_ENABLE_X64"):
        model.predict(np.array([[1, 2**33]]), verbose=0)
