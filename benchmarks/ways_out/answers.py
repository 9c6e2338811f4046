"""What Keras itself says: `python -m benchmarks.ways_out.answers MODEL FILE` writes rows and its answers to them.

Owns the rows that all ways are asked for. TensorFlow is in this process alone, which ends with it.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROWS = 16
#: Kernels differ with the batch size, in the last digits.
MOST_DIFFERENCE = 1e-4


@dataclass(frozen=True)
class Answers:
    """Rows, and the right answers.

    Attributes:
        rows: As Celery's JSON carries each of them.
        right: What Keras says, one line for each.
    """

    rows: list[list[list[float]]]
    right: NDArray[np.float32]

    def row(self, number: int) -> list[list[float]]:
        """Return the row for a task's number."""
        return self.rows[number % len(self.rows)]

    def is_right(self, number: int, answer: Any) -> bool:
        """Whether a task with that number has answered rightly."""
        right = self.right[number % len(self.rows)][None]
        given = np.asarray(answer)
        return given.shape == right.shape and bool(np.abs(given - right).max() <= MOST_DIFFERENCE)


def answers_of(model: Path, directory: Path) -> Answers:
    """Return what Keras says, in a process of its own."""
    file = directory / "answers.npz"
    command = [sys.executable, "-m", "benchmarks.ways_out.answers", str(model), str(file)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, timeout=300)
    with np.load(file) as saved:
        return Answers([[row] for row in saved["rows"].tolist()], saved["right"])


def main(model: str, file: str) -> None:
    """Ask Keras, and write both down."""
    import keras

    loaded = keras.models.load_model(model)
    rows = np.random.default_rng(7).random((ROWS, *loaded.input_shape[1:]), np.float32)
    np.savez(file, rows=rows, right=loaded.predict(rows, verbose=0))


if __name__ == "__main__":
    main(*sys.argv[1:])
