"""Saves models that Keras builds without TensorFlow: `KERAS_BACKEND=jax python -m tests.backends.zoo_files DIRECTORY`.

Beside them, in `others/`, what needs settings of its own, and in `refused/`, what these backends can't serve.
"""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

from tests.models.keras_zoo import ZOO

#: The others hold layers that compute with TensorFlow on every backend, or ragged tensors, which are TensorFlow's.
NAMES = (
    "mlp",
    "cnn",
    "lstm",
    "gru_states",
    "two_inputs",
    "dicts",
    "nested",
    "list_of_one",
    "pixels",
    "embedding",
    "masked",
    "mixed_precision",
    "bfloat16",
    "doubles",
    "any_size",
    "switches",
)


def main(directory: Path) -> None:
    """Save every model, one of them as HDF5 too, and those to be refused."""
    import keras
    from keras import layers

    from tests.backends.custom_layers import Mean, Noise

    keras.utils.set_random_seed(7)
    for name in NAMES:
        ZOO[name][0]().save(directory / f"{name}.keras")
    ZOO["cnn"][0]().save(directory / "hdf5.h5")

    others = directory / "others"
    others.mkdir()
    x = keras.Input((8,), name="x")
    keras.Model(x, Noise()(x)).save(others / "random.keras")
    keras.Model(x, Mean()(x)).save(others / "together.keras")
    refused = directory / "refused"
    refused.mkdir()
    line = keras.Input((), dtype="string", name="line")
    keras.Model(line, layers.Identity()(line)).save(refused / "strings.keras")
    steps = keras.Input((5, 4), batch_size=2, name="steps")
    keras.Model(steps, layers.LSTM(3, stateful=True)(steps)).save(others / "stateful.keras")
    keras.Model(x, layers.Lambda(lambda value: value * 2)(x)).save(refused / "lambda.keras")
    _save_text_model(refused / "text.keras", directory / "mlp.keras")
    (refused / "graph").mkdir()
    (refused / "graph" / "saved_model.pb").write_bytes(b"\x08\x01")


def _save_text_model(path: Path, other: Path) -> None:
    """Keras builds no TextVectorization without TensorFlow, so another model's file gets one written into it."""
    with zipfile.ZipFile(other) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name == "config.json":
                config = json.loads(data)
                config["config"]["layers"][1:] = [
                    {
                        "module": "keras.layers",
                        "class_name": "TextVectorization",
                        "config": {
                            "name": "words",
                            "standardize": "lower",
                            "split": "whitespace",
                            "output_mode": "int",
                            "ngrams": None,
                        },
                        "registered_name": None,
                    }
                ]
                data = json.dumps(config).encode()
            target.writestr(name, data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
