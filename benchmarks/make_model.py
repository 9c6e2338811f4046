"""Makes the measured model, a 64-128-10 MLP with random weights: `python -m benchmarks.make_model FILE.keras`."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main(path: str) -> None:
    """Save the model."""
    import keras

    keras.utils.set_random_seed(1)
    layers = [keras.Input((64,), name="pixels"), keras.layers.Dense(128, activation="relu"), keras.layers.Dense(10)]
    keras.Sequential(layers, name="mlp").save(path)


if __name__ == "__main__":
    main(sys.argv[1])
