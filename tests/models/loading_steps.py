"""Steps that the tests of loading share: save, load, and run with inputs nested as Keras takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predictd_proto.metadata import SignatureSpec
from predictd_proto.structures import fill_structure, leaf_names
from predictd_server.models.files import file_at
from predictd_server.models.settings import ModelSettings
from predictd_server.runner import LoadedModel, LoadedSignature

LADDER = (1, 2, 4, 8, 16, 32, 64)


def load(path: Path, ladder: Sequence[int] = LADDER, **settings: Any) -> LoadedModel:
    """Load the one model at a path, as the daemon does, with fields of `ModelSettings`."""
    from predictd_server.tensorflow.loading import load_model

    file = file_at(path)
    return load_model(file, ModelSettings(name=file.name, path=file.path, **settings), ladder)


def read(path: Path, **settings: Any) -> Any:
    """Read a file as the first step of loading it: traced signatures, none of them chosen a runner for."""
    from predictd_server.models.code_policy import CodePolicy
    from predictd_server.tensorflow.reading import read_model

    file = file_at(path)
    made = ModelSettings(name=file.name, path=file.path, **settings)
    return read_model(file, made, CodePolicy(made.unsafe))


def default(model: LoadedModel) -> LoadedSignature:
    """Return the signature that runs when a request names none."""
    return model.signatures[model.default_signature]


def saved(model: Any, path: Path) -> Path:
    """Save a Keras model in the format that the path's ending says: a SavedModel where there is none."""
    if path.suffix:
        model.save(path)
    else:
        model.export(path, verbose=False)
    return path


def predict(signature: LoadedSignature, nested: Any) -> Any:
    """Run a signature with inputs nested as its structure says; the answer is nested likewise."""
    named = dict(_pairs(signature.spec.input_structure, nested))
    answers = signature.runner.run([np.ascontiguousarray(named[spec.name]) for spec in signature.spec.inputs])
    by_name = {spec.name: array for spec, array in zip(signature.spec.outputs, answers, strict=True)}
    return fill_structure(signature.spec.output_structure, by_name)


def keras_answer(model: Any, rows: Any) -> Any:
    """Return what Keras' own `predict` answers; it takes strings as tensors only."""
    return model.predict(_with_tensors(rows), verbose=0)


def _with_tensors(rows: Any) -> Any:
    import tensorflow as tf

    if isinstance(rows, dict):
        return {key: _with_tensors(child) for key, child in rows.items()}
    if isinstance(rows, list):
        return [_with_tensors(child) for child in rows]
    return tf.constant(rows) if rows.dtype.kind == "O" else rows


def assert_same(got: Any, expected: Any, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    """Compare two answers: nesting, dtypes, shapes and values."""
    if isinstance(expected, dict):
        assert isinstance(got, dict)
        assert got.keys() == expected.keys()
        for key in expected:
            assert_same(got[key], expected[key], rtol, atol)
    elif isinstance(expected, (list, tuple)):
        assert isinstance(got, list)
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert_same(one, other, rtol, atol)
    else:
        assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
        if expected.dtype.kind in "OUS":
            assert got.tolist() == [_bytes(element) for element in expected.tolist()]
        else:
            one, other = got.astype("float64"), expected.astype("float64")
            np.testing.assert_allclose(one, other, rtol=rtol, atol=atol)


def names(spec: SignatureSpec) -> tuple[list[str], list[str]]:
    """Return a signature's input and output names, in order."""
    return [tensor.name for tensor in spec.inputs], [tensor.name for tensor in spec.outputs]


def _pairs(structure: Any, nested: Any) -> list[tuple[str, Any]]:
    if isinstance(structure, str):
        return [(structure, nested)]
    keys = structure.keys() if isinstance(structure, dict) else range(len(structure))
    assert len(leaf_names(structure)) >= len(list(keys))
    return [pair for key in keys for pair in _pairs(structure[key], nested[key])]


def _bytes(element: Any) -> Any:
    if isinstance(element, list):
        return [_bytes(each) for each in element]
    return element.encode() if isinstance(element, str) else element


@contextmanager
def equally_fast() -> Iterator[None]:
    """All ways to run a graph are as fast as one another: the first that is right is chosen, whatever the clock says.

    Which one is clearly faster is another thing each time on a busy machine.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "predictd_server.tensorflow.selection.shortest_runs_s",
            lambda runners, inputs, budget_s: [1.0] * len(runners),
        )
        yield
