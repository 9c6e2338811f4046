"""The digits model as a fake: its answer is the picture's first ten grey values. Any process that serves it."""

from __future__ import annotations

import numpy as np

from predictd.testing import FakeModel


def first_ten(image: np.ndarray) -> np.ndarray:
    """Answer with the first ten grey values."""
    return image.reshape(len(image), 64)[:, :10]


DIGITS = FakeModel(
    "digits",
    inputs={"image": ("float32", (None, 8, 8, 1))},
    outputs=("float32", (None, 10)),
    answer=first_ten,
)
