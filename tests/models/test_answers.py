"""Loaded models answer what Keras' own `predict` answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predictd_server.runner import LoadedModel
from tests.models import format_table
from tests.models.format_table import LOOSE
from tests.models.keras_zoo import ZOO
from tests.models.loading_steps import assert_same, default, keras_answer, load, predict, saved

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module", params=list(ZOO))
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def original(kind: str) -> Any:
    import keras

    keras.utils.set_random_seed(5)
    return ZOO[kind][0]()


@pytest.fixture(scope="module")
def loaded(kind: str, original: Any, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load(saved(original, tmp_path_factory.mktemp(kind) / "model.keras"))


def test_answers_are_keras_own_as_the_page_says(kind: str, original: Any, loaded: LoadedModel) -> None:
    rows = ZOO[kind][1](7)
    observed = format_table.cell(kind, loaded, rows, keras_answer(original, rows))
    assert observed == format_table.on_page()[kind, format_table.FORMATS[0].title]


def test_a_private_session_runs_every_kind(loaded: LoadedModel) -> None:
    assert default(loaded).runner.kind == "session"
    assert default(loaded).are_rows_independent
    assert loaded.notes == ()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 16, 33, 64])
def test_a_rows_answer_is_the_same_in_every_batch_size(kind: str, loaded: LoadedModel, size: int) -> None:
    make, signature = ZOO[kind][1], default(loaded)
    alone = [predict(signature, _row(make(size), index)) for index in (0, size - 1)]
    together = predict(signature, make(size))
    tolerance = LOOSE.get(kind, 1e-4)
    for index, answer in zip((0, size - 1), alone, strict=True):
        assert_same(_row(together, index), answer, rtol=tolerance, atol=tolerance / 10)


def test_made_up_inputs_are_taken(loaded: LoadedModel) -> None:
    signature = default(loaded)
    assert signature.synthesise is not None
    for rows in (1, 5):
        assert signature.runner.run(signature.synthesise(rows))[0].shape[0] == rows


def _row(nested: Any, index: int) -> Any:
    if isinstance(nested, dict):
        return {key: _row(child, index) for key, child in nested.items()}
    if isinstance(nested, (list, tuple)):
        return [_row(child, index) for child in nested]
    return nested[index : index + 1]


@pytest.mark.parametrize("kind", ["mlp", "cnn"], scope="module")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_leaves_its_neighbours_alone(
    kind: str, value: float, original: Any, loaded: LoadedModel
) -> None:
    rows = ZOO[kind][1](3)
    rows[1] = value
    # Of the row itself nothing is said: TensorFlow's fused ReLU answers 0 for NaN, in Keras' `predict` too.
    answer, expected = predict(default(loaded), rows), keras_answer(original, rows)
    np.testing.assert_allclose(answer[[0, 2]], expected[[0, 2]], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bias", [0.0, 1.0])
def test_what_is_not_finite_passes_through(bias: float, tmp_path: Path) -> None:
    import keras

    x = keras.Input((4,), name="x")
    model = load(saved(keras.Model(x, keras.layers.Rescaling(2.0, offset=bias)(x)), tmp_path / "line.keras"))
    rows = np.array([[np.nan, np.inf, -np.inf, 1.0]], "float32")
    np.testing.assert_array_equal(predict(default(model), rows), rows * 2 + bias)
