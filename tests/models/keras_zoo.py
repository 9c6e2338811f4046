"""Small Keras models of every kind that people serve, with rows for them. Imports Keras where it is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

SENTENCES = np.array(
    [b"the cat sat on the mat", b"a dog ran", b"", b"unseen words only here", b"cat dog"], dtype=object
)


def mlp() -> Any:
    import keras

    return keras.Sequential(
        [keras.Input((8,), name="x"), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(3)]
    )


def cnn() -> Any:
    """Batch normalisation gets statistics that are not the identity, so that folding it wrongly would show."""
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((12, 12, 3), name="image"),
            layers.Conv2D(8, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.DepthwiseConv2D(3),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(5, activation="softmax"),
        ]
    )
    random = np.random.default_rng(1)
    model.set_weights([random.uniform(0.1, 1.0, weight.shape) for weight in model.get_weights()])
    return model


def lstm() -> Any:
    import keras
    from keras import layers

    return keras.Sequential(
        [keras.Input((None, 4), name="series"), layers.Bidirectional(layers.LSTM(6)), layers.Dense(2)]
    )


def gru_states() -> Any:
    import keras
    from keras import layers

    steps = keras.Input((5, 4), name="steps")
    return keras.Model(steps, layers.GRU(3, return_sequences=True, return_state=True, name="gru")(steps))


def two_inputs() -> Any:
    import keras
    from keras import layers

    left, right = keras.Input((3,), name="left"), keras.Input((4,), name="right")
    joined = layers.Concatenate()([left, right])
    return keras.Model([right, left], [layers.Dense(2, name="first")(joined), layers.Dense(1, name="second")(right)])


def dicts() -> Any:
    import keras
    from keras import layers

    left, right = keras.Input((3,), name="left"), keras.Input((4,), name="right")
    return keras.Model({"right": right, "left": left}, {"score": layers.Dense(2)(left), "also": layers.Dense(1)(right)})


def nested() -> Any:
    import keras
    from keras import layers

    left, right = keras.Input((3,), name="left"), keras.Input((4,), name="right")
    return keras.Model([left, {"inner": right}], {"pair": [layers.Dense(2)(left), layers.Dense(1)(right)]})


def list_of_one() -> Any:
    import keras
    from keras import layers

    x = keras.Input((3,), name="x")
    return keras.Model([x], [layers.Dense(2, name="y")(x)])


def text() -> Any:
    import keras
    from keras import layers

    words = layers.TextVectorization(max_tokens=20, output_sequence_length=6)
    words.adapt(SENTENCES[:2].astype(str))
    line = keras.Input((), dtype="string", name="line")
    vectors = layers.Embedding(20, 5)(words(line))
    return keras.Model(line, layers.Dense(2)(layers.GlobalAveragePooling1D()(vectors)))


def labels() -> Any:
    import keras
    from keras import layers

    ids = keras.Input((3,), dtype="int32", name="ids")
    lookup = layers.StringLookup(vocabulary=["a", "b", "c"], invert=True)
    return keras.Model(ids, lookup(ids))


def pixels() -> Any:
    import keras
    from keras import layers

    image = keras.Input((6, 6, 3), dtype="uint8", name="image")
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(layers.Rescaling(1 / 255.0)(image))))


def embedding() -> Any:
    import keras
    from keras import layers

    ids = keras.Input((7,), dtype="int32", name="ids")
    return keras.Model(ids, layers.Dense(2)(layers.GlobalMaxPooling1D()(layers.Embedding(4, 3)(ids))))


def masked() -> Any:
    import keras
    from keras import layers

    ids = keras.Input((None,), dtype="int64", name="ids")
    vectors = layers.Embedding(9, 4, mask_zero=True)(ids)
    mixed = layers.MultiHeadAttention(2, 3)(vectors, vectors)
    return keras.Model(ids, layers.LSTM(3)(mixed))


def mixed_precision() -> Any:
    import keras
    from keras import layers

    x = keras.Input((8,), name="x")
    hidden = layers.Dense(16, activation="relu", dtype="mixed_float16")(x)
    return keras.Model(x, layers.Dense(3, dtype="float32")(hidden))


def bfloat16() -> Any:
    import keras
    from keras import layers

    x = keras.Input((8,), name="x", dtype="bfloat16")
    return keras.Model(x, layers.Dense(3, dtype="bfloat16")(x))


def doubles() -> Any:
    import keras
    from keras import layers

    x = keras.Input((8,), name="x", dtype="float64")
    return keras.Model(x, layers.Dense(3, dtype="float64")(x))


def any_size() -> Any:
    import keras
    from keras import layers

    image = keras.Input((None, None, 1), name="image")
    hidden = layers.Conv2D(4, 3)(layers.MaxPooling2D(4)(image))
    return keras.Model(image, layers.GlobalAveragePooling2D()(hidden))


def switches() -> Any:
    import keras

    flags = keras.Input((3,), dtype="bool", name="flags")
    return keras.Model(flags, keras.ops.logical_not(flags))


def _floats(*shape: int) -> Callable[[int], Any]:
    return lambda rows: np.random.default_rng(3).normal(size=(rows, *shape)).astype("float32")


def _numbers(high: int, dtype: str, *shape: int) -> Callable[[int], Any]:
    return lambda rows: np.random.default_rng(3).integers(0, high, (rows, *shape)).astype(dtype)


def _bfloats(rows: int) -> Any:
    import ml_dtypes

    return _floats(8)(rows).astype(ml_dtypes.bfloat16)


#: Name -> (what builds the model, what makes rows for it, nested as its `predict` takes them).
ZOO: dict[str, tuple[Callable[[], Any], Callable[[int], Any]]] = {
    "mlp": (mlp, _floats(8)),
    "cnn": (cnn, _floats(12, 12, 3)),
    "lstm": (lstm, _floats(9, 4)),
    "gru_states": (gru_states, _floats(5, 4)),
    "two_inputs": (two_inputs, lambda rows: [_floats(4)(rows), _floats(3)(rows)]),
    "dicts": (dicts, lambda rows: {"left": _floats(3)(rows), "right": _floats(4)(rows)}),
    "nested": (nested, lambda rows: [_floats(3)(rows), {"inner": _floats(4)(rows)}]),
    "list_of_one": (list_of_one, _floats(3)),
    "text": (text, lambda rows: SENTENCES[np.arange(rows) % len(SENTENCES)]),
    "labels": (labels, _numbers(4, "int32", 3)),
    "pixels": (pixels, _numbers(256, "uint8", 6, 6, 3)),
    "embedding": (embedding, _numbers(4, "int32", 7)),
    "masked": (masked, _numbers(9, "int64", 5)),
    "mixed_precision": (mixed_precision, _floats(8)),
    "bfloat16": (bfloat16, _bfloats),
    "doubles": (doubles, lambda rows: _floats(8)(rows).astype("float64")),
    "any_size": (any_size, _floats(20, 31, 1)),
    "switches": (switches, _numbers(2, "bool", 3)),
}
