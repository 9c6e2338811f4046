"""A user's own layers, as a module that a model's settings name: one is registered with Keras, one is not."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable("predictd_tests")
class Shift(keras.layers.Layer):  # type: ignore[misc, unused-ignore]
    def __init__(self, by: float = 0.5, **options: Any) -> None:
        super().__init__(**options)
        self.by = by

    def call(self, inputs: Any) -> Any:
        return inputs + self.by

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "by": self.by}


class Scale(keras.layers.Layer):  # type: ignore[misc, unused-ignore]
    def build(self, shape: Any) -> None:
        self.factor = self.add_weight(name="factor", shape=(shape[-1],), initializer="random_uniform")

    def call(self, inputs: Any) -> Any:
        return inputs * self.factor


def squash(x: Any) -> Any:
    return x / (1 + keras.ops.abs(x))


def model() -> Any:
    layers = [keras.Input((8,), name="x"), Scale(), Shift(0.25), keras.layers.Dense(3, activation=squash)]
    return keras.Sequential(layers)
