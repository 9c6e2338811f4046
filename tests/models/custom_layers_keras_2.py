"""A user's own layers, as a module for Keras 2: one is registered with Keras, one is not."""

from __future__ import annotations

from typing import Any

import tf_keras as keras


@keras.saving.register_keras_serializable("predictd_tests_2")
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


def model() -> Any:
    layers = [keras.Input((8,), name="x"), Scale(), Shift(0.25), keras.layers.Dense(3)]
    return keras.Sequential(layers)
