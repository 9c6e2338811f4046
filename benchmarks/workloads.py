"""The workloads: which model is asked, for which row, by how many callers.

Owns their names and rows. It imports no TensorFlow: callers use it. The models themselves are made by `make_models.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Callers of a closed loop; one, then as many as make batches of these sizes.
CALLERS = (1, 8, 64, 256)


@dataclass(frozen=True)
class Workload:
    """One model and how it is asked.

    Attributes:
        name: The model's, by which the daemon serves it.
        title: What it is, in words.
        input_name: The name of its only input.
        row: Makes the row that is asked for.
        callers: How many callers it is measured with.
        turn: Turns are this many times as long as others, for those whose batches take long.
    """

    name: str
    title: str
    input_name: str
    row: Callable[[], NDArray[Any]]
    callers: tuple[int, ...] = CALLERS
    turn: float = 1.0

    @property
    def row_bytes(self) -> int:
        """Bytes of one row's numbers."""
        return int(self.row().nbytes)


def _pixels() -> NDArray[Any]:
    return np.linspace(0, 1, 64, dtype=np.float32)[None]


def _image(width: int) -> Callable[[], NDArray[Any]]:
    def row() -> NDArray[Any]:
        return np.linspace(0, 1, width * width * 3, dtype=np.float32).reshape(1, width, width, 3)

    return row


def _text() -> NDArray[Any]:
    return np.array([[" ".join(f"word{number}" for number in range(1, 25))]], dtype=object)


A = Workload("mlp", "a tiny MLP (64-128-10)", "pixels", _pixels)
B = Workload("cnn", "a small CNN, about 2 ms a row", "image", _image(96))
# 64 callers with 12 MB each only hold 0.8 GB in a queue: a measure of the machine's memory, not of the road.
C = Workload("image", "12 MB images, a trivial model", "image", _image(1024), callers=(1, 8))
# 64 make the largest batch; with 256 each call takes seconds, all of them in the queue.
D = Workload("mobilenet", "MobileNetV2 at 96x96, random weights", "image", _image(96), callers=(1, 8, 64), turn=2.0)
E = Workload("text", "strings through TextVectorization", "text", _text)

WORKLOADS = {workload.name: workload for workload in (A, B, C, D, E)}
