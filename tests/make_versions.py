"""Makes versions of one model that can be told apart: `python -m tests.make_versions DIRECTORY COUNT`.

Version N, in `DIRECTORY/N/model.keras`, answers its inputs times N. Runs in a process of its own, so that the test
process never imports TensorFlow.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

WIDTH = 4


def main(directory: Path, count: int) -> None:
    """Save so many versions."""
    import keras
    import numpy as np

    for version in range(1, count + 1):
        layers = [keras.Input((WIDTH,), name="x"), keras.layers.Dense(WIDTH, use_bias=False, name="y")]
        model = keras.Sequential(layers, name="times")
        model.set_weights([version * np.eye(WIDTH, dtype="float32")])
        path = directory / str(version)
        path.mkdir(parents=True)
        model.save(path / "model.keras")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
