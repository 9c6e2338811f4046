"""Layers of a user's own, for the setting `modules`."""

from __future__ import annotations

from typing import Any

import keras


class Noise(keras.layers.Layer):  # type: ignore[misc, unused-ignore]
    """Adds random numbers whenever it is called."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.seeds = keras.random.SeedGenerator(5)

    def call(self, x: Any) -> Any:
        return x + keras.random.normal(keras.ops.shape(x), seed=self.seeds)


class Mean(keras.layers.Layer):  # type: ignore[misc, unused-ignore]
    """Subtracts the mean of all rows, so that no row's answer is its own."""

    def call(self, x: Any) -> Any:
        return x - keras.ops.mean(x, axis=0, keepdims=True)
