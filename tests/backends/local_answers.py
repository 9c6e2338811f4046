"""What Keras itself answers: `KERAS_BACKEND=... python -m tests.backends.local_answers ZOO SAVED.npz`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from predictd_server.keras_files.tensor_tree import leaves_with_paths
from tests.backends.zoo_files import NAMES
from tests.models.keras_zoo import ZOO

ROWS = 11


def flat(answer: object) -> dict[str, np.ndarray]:
    """Return an answer's leaves by their paths; bfloat16, which no file of numpy's can hold, as the float32 it is."""
    return {"/".join(map(str, path)): _plain(np.asarray(leaf)) for path, leaf in leaves_with_paths(answer)}


def _plain(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def main(zoo: Path, saved: Path) -> None:
    """Predict with every model, and save the answers as MODEL/PATH."""
    import keras

    answers: dict[str, Any] = {}
    for name in [*NAMES, "hdf5"]:
        [path] = zoo.glob(f"{name}.*")
        rows = ZOO["cnn" if name == "hdf5" else name][1](ROWS)
        answer = keras.saving.load_model(path, compile=False).predict(rows, verbose=0)
        answers.update({f"{name}/{key}": array for key, array in flat(answer).items()})
    np.savez(saved, **answers)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
