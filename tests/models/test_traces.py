"""Graphs are traced at load and counted; whatever is asked afterwards traces nothing more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from predictd_server.trials.warmup import warm_up
from tests.models.loading_steps import LADDER, default, load, saved


@pytest.fixture
def functions(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every `tf.function` that is made from here on."""
    made: list[Any] = []
    make: Callable[..., Any] = tf.function

    def kept(*arguments: Any, **options: Any) -> Any:
        function = make(*arguments, **options)
        made.append(function)
        return function

    monkeypatch.setattr(tf, "function", kept)
    return made


def traces(functions: list[Any]) -> int:
    return sum(function.experimental_get_tracing_count() for function in functions)


def recurrent(folder: Path, ending: str) -> Path:
    x = keras.Input((None, 4), name="x")
    model = keras.Model(x, keras.layers.Dense(4)(keras.layers.LSTM(3, return_sequences=True)(x)))
    return saved(model, folder / f"m{ending}")


def noisy(folder: Path) -> Path:
    """A model with random answers, which only its concrete function may run."""

    class Noisy(tf.Module):  # type: ignore[misc, unused-ignore]
        @tf.function(input_signature=[tf.TensorSpec([None, None, 4], tf.float32, name="x")])
        def serve(self, x: Any) -> Any:
            return {"y": x + tf.random.uniform(tf.shape(x))}

    model = Noisy()
    tf.saved_model.save(model, folder / "noisy", signatures=model.serve)
    return folder / "noisy"


@pytest.mark.parametrize(
    ("make", "runner"),
    [
        (lambda folder: recurrent(folder, ".keras"), "session"),
        (lambda folder: recurrent(folder, ""), "session"),
        (noisy, "concrete-function"),
    ],
    ids=["keras", "saved model", "concrete function"],
)
def test_requests_of_any_shape_trace_nothing(
    tmp_path: Path, functions: list[Any], make: Callable[[Path], Path], runner: str
) -> None:
    path = make(tmp_path)
    functions.clear()
    loaded = load(path)
    signature = default(loaded)
    assert signature.runner.kind == runner
    warm_up(signature, LADDER)
    before = traces(functions)
    assert before >= loaded.traces == len(loaded.signatures)
    for rows in (1, 3, 64, 100):
        for length in (1, 2, 7, 33):
            assert signature.runner.run([np.ones((rows, length, 4), "float32")])[0].shape == (rows, length, 4)
    assert traces(functions) == before
    loaded.close()
