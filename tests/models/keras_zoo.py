"""Small Keras models of every kind that people serve, with rows for them. Imports Keras where it is called."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

#: Ids in rows of different lengths.
_UNEVEN = [[1, 2, 3], [4], [5, 6], [7, 1, 2, 3, 4]]
SENTENCES = np.array(
    [b"the cat sat on the mat", b"a dog ran", b"", b"unseen words only here", b"cat dog"], dtype=object
)

_LINE: ContextVar[str] = ContextVar("line", default="keras")


def line() -> Any:
    """Return the line of Keras that models are made with."""
    return importlib.import_module(_LINE.get())


@contextmanager
def made_with(name: str) -> Iterator[None]:
    """Make models with `keras` (3) or `tf_keras` (2) meanwhile."""
    token = _LINE.set(name)
    try:
        yield
    finally:
        _LINE.reset(token)


def mlp() -> Any:
    keras = line()

    return keras.Sequential(
        [keras.Input((8,), name="x"), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(3)]
    )


def cnn() -> Any:
    """Batch normalisation gets statistics that are not the identity, so that folding it wrongly would show."""
    keras = line()
    layers = keras.layers

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
    keras = line()
    layers = keras.layers

    return keras.Sequential(
        [keras.Input((None, 4), name="series"), layers.Bidirectional(layers.LSTM(6)), layers.Dense(2)]
    )


def gru_states() -> Any:
    keras = line()
    layers = keras.layers

    steps = keras.Input((5, 4), name="steps")
    return keras.Model(steps, layers.GRU(3, return_sequences=True, return_state=True, name="gru")(steps))


def two_inputs() -> Any:
    keras = line()
    layers = keras.layers

    left, right = keras.Input((3,), name="left"), keras.Input((4,), name="right")
    joined = layers.Concatenate()([left, right])
    return keras.Model([right, left], [layers.Dense(2, name="first")(joined), layers.Dense(1, name="second")(right)])


def dicts() -> Any:
    keras = line()
    layers = keras.layers

    left, right = keras.Input((3,), name="left"), keras.Input((4,), name="right")
    return keras.Model({"right": right, "left": left}, {"score": layers.Dense(2)(left), "also": layers.Dense(1)(right)})


def nested() -> Any:
    keras = line()
    layers = keras.layers

    left, right = keras.Input((3,), name="left"), keras.Input((4,), name="right")
    return keras.Model([left, {"inner": right}], {"pair": [layers.Dense(2)(left), layers.Dense(1)(right)]})


def list_of_one() -> Any:
    keras = line()
    layers = keras.layers

    x = keras.Input((3,), name="x")
    return keras.Model([x], [layers.Dense(2, name="y")(x)])


def text() -> Any:
    keras = line()
    layers = keras.layers

    words = layers.TextVectorization(max_tokens=20, output_sequence_length=6)
    words.adapt(SENTENCES[:2].astype(str))
    sentence = keras.Input((), dtype="string", name="line")
    vectors = layers.Embedding(20, 5)(words(sentence))
    return keras.Model(sentence, layers.Dense(2)(layers.GlobalAveragePooling1D()(vectors)))


def labels() -> Any:
    keras = line()
    layers = keras.layers

    ids = keras.Input((3,), dtype="int32", name="ids")
    lookup = layers.StringLookup(vocabulary=["a", "b", "c"], invert=True)
    return keras.Model(ids, lookup(ids))


def pixels() -> Any:
    keras = line()
    layers = keras.layers

    image = keras.Input((6, 6, 3), dtype="uint8", name="image")
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(layers.Rescaling(1 / 255.0)(image))))


def embedding() -> Any:
    keras = line()
    layers = keras.layers

    ids = keras.Input((7,), dtype="int32", name="ids")
    return keras.Model(ids, layers.Dense(2)(layers.GlobalMaxPooling1D()(layers.Embedding(4, 3)(ids))))


def masked() -> Any:
    keras = line()
    layers = keras.layers

    ids = keras.Input((None,), dtype="int64", name="ids")
    vectors = layers.Embedding(9, 4, mask_zero=True)(ids)
    mixed = layers.MultiHeadAttention(2, 3)(vectors, vectors)
    return keras.Model(ids, layers.LSTM(3)(mixed))


def mixed_precision() -> Any:
    keras = line()
    layers = keras.layers

    x = keras.Input((8,), name="x")
    hidden = layers.Dense(16, activation="relu", dtype="mixed_float16")(x)
    return keras.Model(x, layers.Dense(3, dtype="float32")(hidden))


def bfloat16() -> Any:
    keras = line()
    layers = keras.layers

    x = keras.Input((8,), name="x", dtype="bfloat16")
    return keras.Model(x, layers.Dense(3, dtype="bfloat16")(x))


def doubles() -> Any:
    keras = line()
    layers = keras.layers

    x = keras.Input((8,), name="x", dtype="float64")
    return keras.Model(x, layers.Dense(3, dtype="float64")(x))


def any_size() -> Any:
    keras = line()
    layers = keras.layers

    image = keras.Input((None, None, 1), name="image")
    hidden = layers.Conv2D(4, 3)(layers.MaxPooling2D(4)(image))
    return keras.Model(image, layers.GlobalAveragePooling2D()(hidden))


def switches() -> Any:
    keras = line()

    flags = keras.Input((3,), dtype="bool", name="flags")
    return keras.Model(flags, keras.ops.logical_not(flags))


def float16() -> Any:
    keras = line()

    x = keras.Input((8,), name="x", dtype="float16")
    return keras.Model(x, keras.layers.Dense(3, dtype="float16")(x))


def tabular() -> Any:
    """Preprocessing layers with a state of their own, beside those that only compute."""
    keras = line()
    layers = keras.layers

    age, town = keras.Input((1,), name="age"), keras.Input((1,), dtype="string", name="town")
    normal = layers.Normalization(axis=None, mean=40.0, variance=90.0)(age)
    grown = layers.Discretization(bin_boundaries=[18.0, 65.0])(age)
    known = layers.StringLookup(vocabulary=["Bonn", "Trier"], output_mode="one_hot")(town)
    grown = layers.CategoryEncoding(num_tokens=3, output_mode="one_hot")(grown)
    return keras.Model([age, town], layers.Dense(2)(layers.Concatenate()([normal, grown, known])))


def ragged() -> Any:
    """Rows of different lengths, each without the others' padding."""
    keras = line()
    layers = keras.layers

    ids = keras.Input((None,), dtype="int32", name="ids", ragged=True)
    vectors = layers.Embedding(9, 3)(ids)
    # Keras 3 has no RNN for ragged rows.
    is_keras_2 = keras.__name__ == "tf_keras"
    summary = layers.LSTM(4)(vectors) if is_keras_2 else layers.GlobalAveragePooling1D()(vectors)
    return keras.Model(ids, layers.Dense(2)(summary))


def doubling() -> Any:
    keras = line()

    x = keras.Input((8,), name="x")
    return keras.Model(x, keras.layers.Lambda(lambda x: x * 2)(x))


def ragged_rows() -> Any:
    """Return rows of different lengths as the ragged model's own `predict` takes them."""
    import tensorflow as tf

    return tf.ragged.constant(_UNEVEN, dtype="int32")


def padded_rows() -> dict[str, Any]:
    """Return the same rows as the served model takes them: padded with whatever, and their lengths."""
    lengths = np.array([len(row) for row in _UNEVEN])
    padded = np.full((len(_UNEVEN), max(lengths)), 8, "int32")
    for row, ids in zip(padded, _UNEVEN, strict=True):
        row[: len(ids)] = ids
    return {"ids": padded, "ids_lengths": lengths}


def _floats(*shape: int) -> Callable[[int], Any]:
    return lambda rows: np.random.default_rng(3).normal(size=(rows, *shape)).astype("float32")


def _numbers(high: int, dtype: str, *shape: int) -> Callable[[int], Any]:
    return lambda rows: np.random.default_rng(3).integers(0, high, (rows, *shape)).astype(dtype)


def _towns(rows: int) -> Any:
    return np.array([[b"Bonn"], [b"Trier"], [b"Rom"]], dtype=object)[np.arange(rows) % 3]


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
    "float16": (float16, lambda rows: _floats(8)(rows).astype("float16")),
    "doubles": (doubles, lambda rows: _floats(8)(rows).astype("float64")),
    "tabular": (tabular, lambda rows: [np.linspace(5, 80, rows, dtype="float32")[:, None], _towns(rows)]),
    "any_size": (any_size, _floats(20, 31, 1)),
    "switches": (switches, _numbers(2, "bool", 3)),
}

#: Models that need something besides rows of their own.
SPECIAL = {"lambda": doubling, "ragged": ragged}
