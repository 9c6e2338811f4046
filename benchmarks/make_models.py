"""Makes the measured models, with random weights: `python -m benchmarks.make_models DIRECTORY NAME...`.

Owns their layers. Nothing is trained and nothing downloaded. A process of its own, since it imports TensorFlow.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

VOCABULARY = 5000


def _mlp(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential([keras.Input((64,), name="pixels"), layers.Dense(128, activation="relu"), layers.Dense(10)])


def _cnn(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((96, 96, 3), name="image"),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10),
        ]
    )


def _image(keras: Any) -> Any:
    # One pass over the bytes is the least that a model can do with them.
    return keras.Sequential([keras.Input((1024, 1024, 3), name="image"), keras.layers.GlobalAveragePooling2D()])


def _mobilenet(keras: Any) -> Any:
    image = keras.Input((96, 96, 3), name="image")
    return keras.applications.MobileNetV2(input_tensor=image, weights=None)


def _text(keras: Any) -> Any:
    layers = keras.layers
    words = layers.TextVectorization(
        output_sequence_length=32, vocabulary=[f"word{number}" for number in range(VOCABULARY)]
    )
    return keras.Sequential(
        [
            keras.Input((1,), dtype="string", name="text"),
            words,
            layers.Embedding(VOCABULARY + 2, 64),
            layers.GlobalAveragePooling1D(),
            layers.Dense(10),
        ]
    )


MODELS: dict[str, Callable[[Any], Any]] = {
    "mlp": _mlp,
    "cnn": _cnn,
    "image": _image,
    "mobilenet": _mobilenet,
    "text": _text,
}


def main(directory: str, *names: str) -> None:
    """Save the models, each as `NAME.keras`."""
    import keras

    for name in names:
        keras.utils.set_random_seed(1)
        MODELS[name](keras).save(Path(directory) / f"{name}.keras")


if __name__ == "__main__":
    main(*sys.argv[1:])
