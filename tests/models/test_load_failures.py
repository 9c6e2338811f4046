"""A model that can't be loaded says why, and what to do, in a line or two."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from predictd_proto.errors import ModelLoadError
from predictd_server.models.load_failure import load_failure
from tests.models import keras_zoo
from tests.models.loading_steps import load, saved

pytestmark = pytest.mark.tensorflow


def broken_weights(path: Path) -> Path:
    whole = saved(keras_zoo.mlp(), path / "whole.keras")
    with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(path / "m.keras", "w") as copy:
        for name in archive.namelist():
            copy.writestr(name, b"rubbish" if name.endswith(".h5") else archive.read(name))
    return path / "m.keras"


def broken_config(path: Path) -> Path:
    with zipfile.ZipFile(path / "m.keras", "w") as archive:
        archive.writestr("config.json", "{not json")
        archive.writestr("metadata.json", "{}")
    return path / "m.keras"


def flipped_bits(path: Path) -> Path:
    whole = saved(keras_zoo.mlp(), path / "m.keras")
    data = bytearray(whole.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(byte ^ 0xFF for byte in data[middle : middle + 64])
    whole.write_bytes(data)
    return whole


def truncated_h5(path: Path) -> Path:
    whole = saved(keras_zoo.mlp(), path / "m.h5")
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    return whole


def weights_only(path: Path) -> Path:
    keras_zoo.mlp().save_weights(path / "m.weights.h5")
    return (path / "m.weights.h5").rename(path / "m.h5")


def code(ending: str) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        import keras

        layers = [keras.Input((2,)), keras.layers.Lambda(lambda x: x * 2)]
        return saved(keras.Sequential(layers), path / f"m{ending}")

    make.__name__ = f"code{ending}"
    return make


def unknown_class(path: Path) -> Path:
    whole = saved(keras_zoo.mlp(), path / "whole.keras")
    with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(path / "m.keras", "w") as copy:
        for name in archive.namelist():
            data = archive.read(name)
            if name == "config.json":
                config = json.loads(data)
                layer = config["config"]["layers"][1]
                layer.update(module=None, class_name="Secret", registered_name="theirs>Secret")
                data = json.dumps(config).encode()
            copy.writestr(name, data)
    return path / "m.keras"


def never_built(path: Path) -> Path:
    import keras

    @keras.saving.register_keras_serializable("predictd_tests")
    class Lazy(keras.Model):  # type: ignore[misc, unused-ignore]
        def call(self, inputs: Any) -> Any:
            return inputs

    return saved(Lazy(), path / "m.keras")


def no_signatures(path: Path) -> Path:
    import tensorflow as tf

    tf.saved_model.save(tf.Module(), str(path / "m"))
    return path / "m"


def broken_protobuf(path: Path) -> Path:
    import tensorflow as tf

    tf.saved_model.save(tf.Module(), str(path / "m"))
    (path / "m" / "saved_model.pb").write_bytes(b"rubbish")
    return path / "m"


def missing_variables(path: Path) -> Path:
    saved(keras_zoo.mlp(), path / "m")
    for file in (path / "m" / "variables").iterdir():
        file.unlink()
    return path / "m"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (broken_weights, "it is damaged or incomplete; save the model again"),
        (broken_config, "it is damaged or incomplete; save the model again"),
        (flipped_bits, "it is damaged or incomplete; save the model again"),
        (truncated_h5, r"cut short; save the model again"),
        (weights_only, "it holds weights without a model"),
        (
            code(".keras"),
            "a Lambda layer .'lambda(_[0-9]+)?'., which is Python code that loading would run, and is refused",
        ),
        (
            code(".h5"),
            "a Lambda layer .'lambda(_[0-9]+)?'., which is Python code that loading would run, and is refused",
        ),
        (unknown_class, r"a class that isn't Keras' own.*model\.export\('directory'\).*'Secret'"),
        (never_built, "Lazy doesn't say what its inputs are: .* call it once on data and save it again"),
        (no_signatures, r"it has no signatures, .*save it with model\.export"),
        (broken_protobuf, "it is damaged or incomplete; save the model again"),
        (missing_variables, "it is damaged or incomplete; save the model again"),
    ],
    ids=lambda value: getattr(value, "__name__", "text"),
)
@pytest.mark.filterwarnings("ignore::UserWarning:keras")
def test_a_failed_load_says_what_is_wrong(make: Callable[[Path], Path], words: str, tmp_path: Path) -> None:
    path = make(tmp_path)
    with pytest.raises(ModelLoadError, match=words) as caught:
        load(path)
    assert caught.value.message.startswith(f"{path}: ")
    assert len(caught.value.message) < len(str(path)) + 700
    assert "\n" not in caught.value.message
    assert "safe_mode=False" not in caught.value.message
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("OOM when allocating tensor with shape[1]"), ValueError("std::bad_alloc")]
)
def test_a_lack_of_memory_is_called_that(error: Exception) -> None:
    assert "m.keras: not enough memory to load it" in load_failure(Path("m.keras"), error).message


def test_a_python_function_is_named() -> None:
    said = "Graph execution error:\n\n<stack traces unavailable>\nValueError: no callback with key=pyfunc_0\n"
    message = load_failure(Path("m"), RuntimeError(said)).message
    assert message.startswith("m: it calls a Python function (tf.py_function or tf.numpy_function)")
    assert message.endswith("use TensorFlow operations instead (ValueError: no callback with key=pyfunc_0)")


def test_nothing_is_executed_by_a_refused_file(tmp_path: Path) -> None:
    import keras

    mark = tmp_path / "executed"

    def touch(x: Any, place: str = str(mark)) -> Any:
        Path(place).touch()
        return x

    x = keras.Input((2,))
    path = saved(keras.Model(x, keras.layers.Lambda(touch)(x)), tmp_path / "m.keras")
    mark.unlink()
    with pytest.raises(ModelLoadError):
        load(path)
    assert not mark.exists()
