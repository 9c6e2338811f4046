"""Recorded requests: models that take no made-up input are warmed, compared and merged by what was recorded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from predictd_proto.errors import ModelLoadError
from predictd_server.models.files import ModelFile, ModelFormat
from predictd_server.models.recorded import recorded_inputs
from predictd_server.trials.recording import Recording
from predictd_server.trials.warmup import warm_up
from tests.models.loading_steps import LADDER, default, load
from tests.server.sample_models import spec_of, write

IDS = np.arange(1000, 1012, dtype="int32").reshape(4, 3)


@pytest.fixture(scope="module")
def picky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel that takes ids from 1000 on only: no made-up input is among them."""

    class Picky(tf.Module):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.table = tf.Variable(tf.random.stateless_normal([2000, 4], (1, 2)))

        @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.int32, name="ids")])
        def serve(self, ids: Any) -> Any:
            with tf.control_dependencies([tf.debugging.assert_greater_equal(ids, 1000)]):
                return {"vector": tf.reduce_sum(tf.gather(self.table, ids), axis=1)}

    model = Picky()
    folder = tmp_path_factory.mktemp("picky") / "model"
    tf.saved_model.save(model, folder, signatures={"serving_default": model.serve})
    return folder


def with_samples(model: Path, folder: Path, **arrays: Any) -> Path:
    """Return a version directory that holds the model and recorded requests."""
    target = folder / "picky"
    for file in model.rglob("*"):
        if file.is_file():
            copy = target / file.relative_to(model)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    write(target / "warmup.npz", **arrays)
    return target


def test_without_recorded_requests_the_advice_is_to_record_some(picky: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"failed on every made-up input: .*record inputs that it takes in warmup"):
        load(picky)


def test_recorded_requests_stand_in_for_made_up_ones(picky: Path, tmp_path: Path) -> None:
    loaded = load(with_samples(picky, tmp_path, inputs__ids=IDS))
    signature = default(loaded)
    assert signature.runner.kind.startswith("session")
    assert signature.are_rows_independent
    assert sorted({size for size, _ in warm_up(signature, LADDER)}) == list(LADDER)
    expected = tf.saved_model.load(picky).signatures["serving_default"](tf.constant(IDS))["vector"].numpy()
    np.testing.assert_allclose(signature.runner.run([IDS])[0], expected, rtol=1e-5)
    loaded.close()


def test_one_recorded_row_does_not_tell_whether_rows_are_independent(picky: Path, tmp_path: Path) -> None:
    loaded = load(with_samples(picky, tmp_path, inputs__ids=IDS[:1]))
    assert not default(loaded).are_rows_independent
    loaded.close()


def test_recorded_requests_that_it_does_not_take_fail_the_load(picky: Path, tmp_path: Path) -> None:
    folder = with_samples(picky, tmp_path, inputs__ids=IDS - 1000)
    expected = re.escape(f"{folder / 'warmup.npz'}: request 0 of signature 'serving_default'") + ".*can't run with what"
    with pytest.raises(ModelLoadError, match=expected):
        load(folder)


SPEC = spec_of({"x": ("float32", (None, None)), "n": ("int64", ())}, {"y": ("float32", (None,))}, "serve")
OTHER = spec_of({"x": ("float32", (None, None)), "n": ("int64", ())}, {"y": ("float32", (None,))}, "other")
X = np.arange(6, dtype="float32").reshape(3, 2)


def recorded(folder: Path, **arrays: Any) -> dict[str, tuple[Recording, ...]]:
    write(folder / "m.warmup.npz", **arrays)
    file = ModelFile("m", folder / "m.keras", ModelFormat.KERAS)
    return recorded_inputs(file, {"serve": SPEC, "other": OTHER}, "serve")


def test_no_file_is_no_recorded_request(tmp_path: Path) -> None:
    file = ModelFile("m", tmp_path / "m.keras", ModelFormat.KERAS)
    assert recorded_inputs(file, {"serve": SPEC}, "serve") == {}


def test_several_requests_and_signatures_are_told_apart_by_name(tmp_path: Path) -> None:
    n = np.int64(3)
    found = recorded(
        tmp_path,
        inputs__x=X,
        inputs__n=n,
        **{"2__inputs__x": X[:1], "2__inputs__n": n, "other__inputs__x": X, "other__inputs__n": n},
        **{"other__10__inputs__x": X[:, :1], "other__10__inputs__n": n},
    )
    shapes = {name: [recording.arrays[0].shape for recording in of_one] for name, of_one in found.items()}
    assert shapes == {"serve": [(3, 2), (1, 2)], "other": [(3, 2), (3, 1)]}


def test_rows_are_taken_in_turn_and_another_seed_begins_elsewhere() -> None:
    recording = Recording((SPEC.inputs[0],), (X,), "here")
    assert recording.inputs(5)[0][:, 0].tolist() == [0, 2, 4, 0, 2]
    for seed in (1, 2, 999, 1000, 1001):
        assert recording.inputs(3, seed)[0][0, 0] != 0
    single = Recording((SPEC.inputs[0],), (X[:1],), "here")
    assert single.inputs(3, 7)[0].shape == (3, 2)


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({}, "it holds no arrays; remove it"),
        ({"x": X}, "array 'x' is for no input of this model; expected 'inputs/x', 'inputs/n', or several"),
        ({"outputs__y": X}, "array 'outputs/y' is for no input"),
        ({"inputs__z": X}, "array 'inputs/z' is for no input"),
        ({"nope__inputs__x": X}, "those of another signature ('other') with its name in front"),
        (
            {"inputs__x": X},
            "request 0 of signature 'serve': the inputs 'n' are missing; record all inputs of a request",
        ),
        (
            {"inputs__x": X[:0], "inputs__n": np.int64(1)},
            "expected the same number of rows in all inputs, one at least",
        ),
        (
            {"inputs__x": X.astype("float64"), "inputs__n": np.int64(1)},
            "input 'x': expected float32[rows, length], got",
        ),
        ({"inputs__x": X, "inputs__n": np.ones(1, "int64")}, "input 'n': expected int64[], got the shape [1]"),
    ],
)
def test_requests_of_another_model_are_refused(tmp_path: Path, arrays: dict[str, Any], expected: str) -> None:
    with pytest.raises(ModelLoadError, match=re.escape(expected)):
        recorded(tmp_path, **arrays)
