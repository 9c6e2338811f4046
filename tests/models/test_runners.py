"""What holds for every runner: threads, memory, and closing."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predictd_server.runner import LoadedModel, LoadedSignature
from tests.models import keras_zoo
from tests.models.loading_steps import default, load, predict, saved

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(keras_zoo.mlp(), tmp_path_factory.mktemp("runners") / "mlp.keras")


@pytest.fixture(scope="module", params=["session", "concrete-function"])
def loaded(request: pytest.FixtureRequest, path: Path) -> Any:
    from predictd_server.tensorflow import selection

    with pytest.MonkeyPatch.context() as patch:
        if request.param == "concrete-function":
            patch.setattr(selection, "_session", lambda *arguments: None)
        model = load(path)
    assert default(model).runner.kind == request.param
    yield model
    model.close()


def test_runs_of_several_threads_may_overlap(loaded: LoadedModel) -> None:
    signature = default(loaded)
    random = np.random.default_rng(0)
    batches = [random.normal(size=(rows, 8)).astype("float32") for rows in (1, 3, 8, 64)]
    expected = [predict(signature, rows).copy() for rows in batches]
    wrong: list[int] = []

    def work(first: int) -> None:
        for turn in range(200):
            index = (first + turn) % len(batches)
            if not np.allclose(predict(signature, batches[index]), expected[index], rtol=1e-4, atol=1e-6):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_model_loaded_on_one_thread_runs_on_another(path: Path) -> None:
    found: list[LoadedSignature] = []
    loader = threading.Thread(target=lambda: found.append(default(load(path))))
    loader.start()
    loader.join()
    assert predict(found[0], np.zeros((2, 8), "float32")).shape == (2, 3)


def test_odd_memory_is_read_right(loaded: LoadedModel) -> None:
    rows = np.random.default_rng(1).normal(size=(6, 8)).astype("float32")
    expected = predict(default(loaded), rows).copy()
    shifted = np.frombuffer(bytearray(4 + rows.nbytes), np.uint8)[4:].view("float32").reshape(6, 8)
    shifted[...] = rows
    read_only = rows.copy()
    read_only.flags.writeable = False
    for array in (shifted, read_only, np.asfortranarray(rows)):
        np.testing.assert_allclose(predict(default(loaded), array), expected, rtol=1e-6)


def test_held_outputs_survive_later_runs(loaded: LoadedModel) -> None:
    first = predict(default(loaded), np.ones((4, 8), "float32"))
    kept = first.copy()
    for turn in range(20):
        predict(default(loaded), np.full((4, 8), turn, "float32"))
    np.testing.assert_array_equal(first, kept)


def test_a_constant_of_the_graph_cannot_be_overwritten(tmp_path: Path) -> None:
    import tensorflow as tf

    class Constant(tf.Module):  # type: ignore[misc, unused-ignore]
        @tf.function(input_signature=[tf.TensorSpec((None, 2), tf.float32, name="x")])
        def __call__(self, x: Any) -> Any:
            return {"y": x, "weights": tf.constant([[1.0, 2.0]])}

    tf.saved_model.save(Constant(), str(tmp_path / "m"))
    runner = default(load(tmp_path / "m", ladder=(1, 2))).runner
    constant = runner.run([np.zeros((1, 2), "float32")])[0]
    if runner.kind == "session":
        with pytest.raises(ValueError, match="read-only"):
            constant[...] = 0
    np.testing.assert_array_equal(runner.run([np.zeros((1, 2), "float32")])[0], [[1.0, 2.0]])


def test_a_closed_runner_says_so_and_closes_again(path: Path) -> None:
    model = load(path)
    model.close()
    model.close()
    with pytest.raises(RuntimeError, match="closed"):
        predict(default(model), np.zeros((1, 8), "float32"))


def test_the_original_is_let_go_of(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import weakref

    import keras

    originals: list[Any] = []
    read = keras.saving.load_model

    def remembered(*arguments: Any, **options: Any) -> Any:
        model = read(*arguments, **options)
        originals.append(weakref.ref(model))
        originals.extend(weakref.ref(variable.value) for variable in model.variables)
        return model

    monkeypatch.setattr(keras.saving, "load_model", remembered)
    model = load(path)
    assert default(model).runner.kind == "session"
    assert [original() for original in originals] == [None] * len(originals)
    assert np.isfinite(predict(default(model), np.ones((2, 8), "float32"))).all()
