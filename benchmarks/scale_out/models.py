"""The models that chunks are made for: their shapes are those of workloads A and D, their answers from their inputs.

What a chunk costs broker, run and worker depends on its bytes alone. How fast hosts score is in docs/performance.json.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictd.testing import FakeModel

CLASSES = {"rows": 10, "images": 1000}


def rows_answer(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an answer for each row; other rows have others, since a claim store keeps the same ones once."""
    return _first_numbers(x, CLASSES["rows"])


def images_answer(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an answer for each image."""
    return _first_numbers(x, CLASSES["images"])


def _first_numbers(x: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    return x.reshape(len(x), -1)[:, :count]


def _model(name: str, shape: tuple[int, ...], answer: Any) -> FakeModel:
    outputs = {"y": ("float32", (None, CLASSES[name]))}
    return FakeModel(name, inputs={"x": ("float32", (None, *shape))}, outputs=outputs, answer=answer)


ROWS = _model("rows", (64,), rows_answer)
IMAGES = _model("images", (96, 96, 3), images_answer)
