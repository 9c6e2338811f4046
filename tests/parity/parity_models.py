"""The models of the parity suite: many of `tests/models/keras_zoo.py`, and some whose calling conventions are odd.

`PARITY_MODELS` maps a name to (what builds the model, what makes rows for it). Imports Keras where it is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.models import keras_zoo

Builder = Callable[[], Any]
Rows = Callable[[int], Any]


def column() -> Any:
    """One number a row in, one out: Keras takes it with and without its last axis."""
    import keras

    x = keras.Input((1,), name="x")
    return keras.Model(x, keras.layers.Dense(1, name="y")(x))


def scalars() -> Any:
    """Rows of rank 1: no axis but the rows'."""
    import keras

    x = keras.Input((), name="x")
    return keras.Model(x, keras.layers.Rescaling(2.0, 1.0, name="y")(x))


def unordered() -> Any:
    """Keys that are not in alphabetical order, in and out."""
    import keras
    from keras import layers

    width, area, height = (keras.Input((size,), name=f"in_{size}") for size in (2, 3, 4))
    return keras.Model(
        {"width": width, "area": area, "height": height},
        {"z": layers.Dense(2)(width), "a": layers.Dense(1)(area), "m": layers.Dense(3)(height)},
    )


def deep() -> Any:
    """Nested twice, in and out."""
    import keras
    from keras import layers

    a, b, c = (keras.Input((size,), name=f"leaf_{size}") for size in (2, 3, 4))
    return keras.Model(
        {"first": [a, {"x": b}], "second": c},
        [{"one": layers.Dense(1)(a), "rest": [layers.Dense(2)(b), layers.Dense(3)(c)]}],
    )


def mixed_inputs() -> Any:
    """Floats, whole numbers, switches and words together."""
    import keras
    from keras import layers

    number = keras.Input((2,), name="number")
    identity = keras.Input((1,), name="identity", dtype="int64")
    switch = keras.Input((2,), name="switch", dtype="bool")
    word = keras.Input((1,), name="word", dtype="string")
    looked_up = layers.StringLookup(vocabulary=["cat", "dog"], output_mode="one_hot")(word)
    joined = layers.Concatenate()(
        [
            number,
            layers.Flatten()(layers.Embedding(10, 3)(identity)),
            keras.ops.cast(switch, "float32"),
            looked_up,
        ]
    )
    return keras.Model(
        {"number": number, "identity": identity, "switch": switch, "word": word},
        {"score": layers.Dense(1)(joined), "switch": keras.ops.logical_not(switch), "identity": identity},
    )


def halves() -> Any:
    import keras

    x = keras.Input((8,), name="x", dtype="float16")
    return keras.Model(x, keras.layers.Dense(3, dtype="float16")(x))


def small_numbers() -> Any:
    import keras

    x = keras.Input((4,), name="x", dtype="uint8")
    return keras.Model(x, keras.ops.right_shift(x, 1))


def whole_numbers() -> Any:
    import keras

    x = keras.Input((4,), name="x", dtype="int32")
    return keras.Model(x, x * 2)


def sequential_list() -> Any:
    """A Sequential model that was built by its first call, without an Input."""
    import keras

    model = keras.Sequential([keras.layers.Dense(4, activation="tanh"), keras.layers.Dense(2)])
    model.build((None, 5))
    return model


def sequences() -> Any:
    """Outputs whose length is the input's."""
    import keras
    from keras import layers

    steps = keras.Input((None, 3), name="steps")
    return keras.Model(steps, layers.LSTM(4, return_sequences=True)(steps))


def centred() -> Any:
    """Rows influence each other: what comes back depends on the batch."""
    import keras

    x = keras.Input((3,), name="x")
    return keras.Model(x, x - keras.ops.mean(x, axis=0, keepdims=True))


def fixed_rows() -> Any:
    """Always four rows at once."""
    import keras

    x = keras.Input(batch_shape=(4, 3), name="x")
    return keras.Model(x, keras.layers.Dense(2)(x))


def _floats(*shape: int) -> Rows:
    return lambda rows: np.random.default_rng(5).normal(size=(rows, *shape)).astype("float32")


def _numbers(high: int, dtype: str, *shape: int) -> Rows:
    return lambda rows: np.random.default_rng(5).integers(0, high, (rows, *shape)).astype(dtype)


def _mixed_rows(rows: int) -> Any:
    return {
        "number": _floats(2)(rows),
        "identity": _numbers(10, "int64", 1)(rows),
        "switch": _numbers(2, "bool", 2)(rows),
        # Without its last axis: Keras' `predict` takes strings only so.
        "word": np.array(["cat", "dog", "bird"], dtype=object)[np.arange(rows) % 3],
    }


#: From the zoo: what differs in the way it is called. What differs inside only is `tests/models`' subject.
_FROM_ZOO = (
    "mlp cnn lstm gru_states two_inputs dicts nested list_of_one labels pixels embedding doubles switches bfloat16 "
    "masked"
)

PARITY_MODELS: dict[str, tuple[Builder, Rows]] = {
    **{name: keras_zoo.ZOO[name] for name in _FROM_ZOO.split()},
    "words": (keras_zoo.text, lambda rows: np.array(["cat dog", "a dog", ""], dtype=object)[np.arange(rows) % 3]),
    "column": (column, _floats(1)),
    "scalars": (scalars, _floats()),
    "unordered": (
        unordered,
        lambda rows: {"width": _floats(2)(rows), "area": _floats(3)(rows), "height": _floats(4)(rows)},
    ),
    "deep": (
        deep,
        lambda rows: {"first": [_floats(2)(rows), {"x": _floats(3)(rows)}], "second": _floats(4)(rows)},
    ),
    "mixed_inputs": (mixed_inputs, _mixed_rows),
    "halves": (halves, lambda rows: _floats(8)(rows).astype("float16")),
    "small_numbers": (small_numbers, _numbers(256, "uint8", 4)),
    "whole_numbers": (whole_numbers, _numbers(1000, "int32", 4)),
    "sequential_list": (sequential_list, _floats(5)),
    "sequences": (sequences, _floats(7, 3)),
    "centred": (centred, _floats(3)),
    "fixed_rows": (fixed_rows, _floats(3)),
}
