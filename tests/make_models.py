"""Makes the small models that the tests serve: `python -m tests.make_models DIRECTORY`.

Runs in a process of its own, so that the test process never imports TensorFlow. Each model is a real file made by the
public API that users call.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

#: The sleeper sleeps for the seconds by which its largest input is above this, so that warm-up costs nothing.
SLEEP_BASE = 100.0


def main(directory: Path) -> None:
    """Save `mlp.keras`, `two.keras`, `sequence.keras`, `legacy.h5`, `sleeper/` and the answers of the first."""
    import keras
    import numpy as np
    import tensorflow as tf

    keras.utils.set_random_seed(7)
    directory.mkdir(parents=True, exist_ok=True)

    mlp = keras.Sequential(
        [
            keras.Input((64,), name="pixels"),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ],
        name="mlp",
    )
    mlp.save(directory / "mlp.keras")
    mlp.save(directory / "legacy.h5")
    rows = np.random.default_rng(7).normal(size=(200, 64)).astype("float32")
    np.savez(directory / "mlp.npz", x=rows, y=mlp.predict(rows, verbose=0))

    left = keras.Input((3,), name="left")
    right = keras.Input((2,), name="right", dtype="int32")
    both = keras.layers.Concatenate()([left, keras.layers.Rescaling(1.0)(right)])
    two = keras.Model(
        {"left": left, "right": right},
        {"sum": keras.layers.Dense(1, name="total")(both), "both": both},
        name="two",
    )
    two.save(directory / "two.keras")

    words = keras.Input((None, 4), name="words")
    keras.Model(words, keras.layers.Rescaling(2.0)(words), name="sequence").save(directory / "sequence.keras")

    sleeper = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="seconds")])
    def sleep(seconds):
        wait_s = tf.cast(tf.reduce_max(seconds) - SLEEP_BASE, tf.float64)
        end_s = tf.timestamp() + wait_s
        turns = tf.while_loop(lambda turn: tf.timestamp() < end_s, lambda turn: [turn + 1], [tf.constant(0)])[0]
        return {"slept": seconds + 0.0 * tf.cast(turns, tf.float32)}

    sleeper.sleep = sleep
    tf.saved_model.save(sleeper, str(directory / "sleeper"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
