"""What becomes of a model that brings code: refused, noted or run, as `unsafe` says."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predictd_proto.errors import ModelLoadError
from tests.models import keras_zoo
from tests.models.format_table import CUSTOM_LAYERS, original
from tests.models.loading_steps import default, load, predict, saved

pytestmark = [pytest.mark.tensorflow, pytest.mark.filterwarnings("ignore::UserWarning")]

ROWS = np.ones((2, 8), "float32")
LINES = ("keras", "tf_keras")


def lambda_model(line: str, mark: Path) -> Any:
    place = str(mark)
    with keras_zoo.made_with(line):
        keras = keras_zoo.line()
        x = keras.Input((8,))
        return keras.Model(x, keras.layers.Lambda(lambda x: (__import__("pathlib").Path(place).touch(), x * 2)[1])(x))


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("unsafe", ["refuse", "warn", "allow"])
def test_a_lambda_runs_only_where_it_is_allowed(line: str, ending: str, unsafe: str, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    path = saved(lambda_model(line, mark), tmp_path / f"m{ending}")
    mark.unlink()
    if unsafe == "allow":
        loaded = load(path, (1, 2), unsafe=unsafe)
        assert loaded.notes == ()
        np.testing.assert_array_equal(predict(default(loaded), ROWS), ROWS * 2)
    else:
        with pytest.raises(ModelLoadError, match=r"a Lambda layer .*is refused; .*unsafe = .allow."):
            load(path, unsafe=unsafe)
    assert mark.exists() == (unsafe == "allow")


def test_a_lambda_inside_other_layers_is_found(tmp_path: Path) -> None:
    import keras

    inner = keras.Sequential([keras.Input((4, 8)), keras.layers.TimeDistributed(keras.layers.Lambda(lambda x: x))])
    outer = keras.Sequential([keras.Input((4, 8)), inner])
    for ending in (".keras", ".h5"):
        with pytest.raises(ModelLoadError, match="a Lambda layer"):
            load(saved(outer, tmp_path / f"m{ending}"))


def test_a_function_of_a_foreign_module_is_never_looked_up_by_keras_2(tmp_path: Path) -> None:
    whole = saved(original("tf_keras", "mlp"), tmp_path / "whole.keras")
    changed = tmp_path / "m.keras"
    evil = {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}
    with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(changed, "w") as copy:
        for name in archive.namelist():
            data = archive.read(name)
            if name == "config.json":
                config = json.loads(data)
                config["config"]["layers"][1]["config"]["activation"] = evil
                data = json.dumps(config).encode()
            copy.writestr(name, data)
    with pytest.raises(ModelLoadError, match=r"it names os\.system, which is Python code .* refused; name its module"):
        load(changed)


@pytest.mark.parametrize("unsafe", ["refuse", "warn", "allow"])
def test_an_hdf5_file_is_refused_noted_or_served(unsafe: str, tmp_path: Path) -> None:
    path = saved(original("keras", "mlp"), tmp_path / "m.h5")
    if unsafe == "refuse":
        with pytest.raises(ModelLoadError, match=r'an HDF5 file, .* unsafe = "refuse".*save the model as model\.keras'):
            load(path, unsafe=unsafe)
        return
    notes = load(path, (1, 2), unsafe=unsafe).notes
    assert [note.startswith("it is an HDF5 file") for note in notes] == [True] * (unsafe == "warn")


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("unsafe", ["refuse", "warn", "allow"])
def test_modules_are_refused_noted_or_imported(line: str, unsafe: str, tmp_path: Path) -> None:
    model, modules = original(line, "custom"), (CUSTOM_LAYERS[line],)
    path = saved(model, tmp_path / "m.keras")
    if unsafe == "refuse":
        with pytest.raises(ModelLoadError, match=f"`modules` runs {modules[0]}, which .* let through"):
            load(path, modules=modules, unsafe=unsafe)
        return
    loaded = load(path, (1, 2), modules=modules, unsafe=unsafe)
    assert [note.startswith("its setting `modules`") for note in loaded.notes] == [True] * (unsafe == "warn")
    np.testing.assert_allclose(predict(default(loaded), ROWS), model.predict(ROWS, verbose=0), rtol=1e-5)


def test_a_class_that_is_not_registered_is_found_only_in_a_module_that_is_named(tmp_path: Path) -> None:
    path = saved(original("keras", "custom"), tmp_path / "m.keras")
    with pytest.raises(ModelLoadError, match="a class that isn't Keras' own"):
        load(path)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (None, "ModuleNotFoundError: No module named 'predictd_tests_layers'"),
        ("import predictd_tests_missing", "No module named 'predictd_tests_missing'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def f(:", "SyntaxError"),
    ],
    ids=["missing", "needs another", "raises", "is no Python"],
)
def test_a_module_that_cannot_be_imported_is_named(
    source: str | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    if source is not None:
        (tmp_path / "predictd_tests_layers.py").write_text(source)
    path = saved(original("keras", "mlp"), tmp_path / "m.keras")
    with pytest.raises(ModelLoadError, match=r"m\.keras: the module 'predictd_tests_layers'") as caught:
        load(path, modules=("predictd_tests_layers",))
    assert words in caught.value.message
    assert "PYTHONPATH" in caught.value.message


def exported(path: Path, call: Callable[[Any], Any], dtype: str = "string") -> Path:
    import tensorflow as tf

    holder = tf.Module()
    holder.function = tf.function(call, input_signature=[tf.TensorSpec((None,), dtype, name="x")])
    tf.saved_model.save(holder, str(path), signatures=holder.function)
    return path


@pytest.mark.parametrize("unsafe", ["refuse", "warn", "allow"])
def test_a_graph_that_reads_files_is_refused_noted_or_served(unsafe: str, tmp_path: Path) -> None:
    import tensorflow as tf

    def call(x: Any) -> Any:
        return {"y": tf.map_fn(tf.io.read_file, x)}

    path = exported(tmp_path / "m", call)
    (tmp_path / "text").write_text("contents")
    if unsafe == "refuse":
        with pytest.raises(ModelLoadError, match=r"reads or writes files \(ReadFile\), which .* let through"):
            load(path, unsafe=unsafe)
        return
    loaded = load(path, (1, 2), unsafe=unsafe)
    assert any("reads or writes files (ReadFile)" in note for note in loaded.notes) == (unsafe == "warn")
    rows = np.array([str(tmp_path / "text").encode()], dtype=object)
    assert predict(default(loaded), rows).tolist() == [b"contents"]


@pytest.mark.parametrize("unsafe", ["warn", "allow"])
@pytest.mark.parametrize("wrap", ["py_function", "numpy_function"])
def test_a_graph_that_calls_python_is_always_refused(unsafe: str, wrap: str, tmp_path: Path) -> None:
    import tensorflow as tf

    called: list[int] = []

    def python(x: Any) -> Any:
        called.append(1)
        return x

    path = exported(tmp_path / "m", lambda x: {"y": getattr(tf, wrap)(python, [x], tf.float32)}, "float32")
    called.clear()
    # In this process the function is still there, and must not be called all the same.
    with pytest.raises(ModelLoadError, match=r"calls a Python function .* use TensorFlow operations instead"):
        load(path, unsafe=unsafe)
    assert called == []
