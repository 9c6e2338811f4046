"""Train a small Keras CNN on the handwritten digits that scikit-learn ships.

    python -m examples.digits.train DIRECTORY

Owns the network, the split and the two files: `digits.keras`, and `held_out.npz` with the digits that it never saw and
what the trained network itself says about them, to compare with. TensorFlow lives in this process alone and ends with
it. Prints `epoch N of M` as it goes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_digits

from examples.digits import HELD_OUT_FILE, MODEL_FILE

SEED = 7
EPOCHS = 15
#: Half of the 1,797 digits: enough to learn from, and enough left over to ask about.
TRAINING_DIGITS = 899


class EpochLines(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """One line per epoch for whoever watches this process."""

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        """Print how far it is."""
        print(f"epoch {epoch + 1} of {EPOCHS}", flush=True)


def build() -> keras.Model:
    """Return the untrained network: `float32[rows, 8, 8, 1]` -> `float32[rows, 10]`."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dropout(0.4),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ],
        name="digits",
    )


def main() -> None:
    """Train, save, and write down what the network says about the digits it never saw."""
    directory = Path(sys.argv[1])
    keras.utils.set_random_seed(SEED)
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[..., np.newaxis]
    order = np.random.default_rng(SEED).permutation(len(images))
    seen, held_out = order[:TRAINING_DIGITS], order[TRAINING_DIGITS:]

    model = build()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(images[seen], digits.target[seen], epochs=EPOCHS, verbose=0, callbacks=[EpochLines()])
    model.save(directory / MODEL_FILE)
    np.savez(
        directory / HELD_OUT_FILE,
        images=images[held_out],
        labels=digits.target[held_out],
        scores=model.predict(images[held_out], verbose=0),
    )


if __name__ == "__main__":
    main()
