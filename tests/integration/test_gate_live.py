"""The gate in a daemon: a version that answers otherwise than its golden samples leaves the older one serving."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predictd_proto.errors import ModelLoadError

pytestmark = [pytest.mark.integration, pytest.mark.tensorflow]

Rows = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


def add_version(folder: Path, number: int, model: Path, golden: Rows) -> None:
    """Put a version beside the others, its golden samples first."""
    directory = folder / str(number)
    directory.mkdir(parents=True)
    write_golden(directory, golden)
    shutil.copy(model, directory / "model.keras")


def write_golden(directory: Path, golden: Rows) -> None:
    arrays: dict[str, Any] = {"inputs/pixels": golden[0], "outputs/dense_1": golden[1]}
    np.savez(directory / "golden.npz", **arrays)


def test_a_version_that_answers_otherwise_never_goes_live(
    models: Path, digits: Rows, tmp_path: Path, start_daemon: Callable[..., Any]
) -> None:
    x, y = digits[0][:9], digits[1][:9]
    folder = tmp_path / "mlp"
    add_version(folder, 1, models / "mlp.keras", (x, y))
    daemon = start_daemon(folder)
    with daemon.client() as client:
        (first,) = client.models("mlp")
        assert first.gate == "passed within 0.0001 (serving_default: 9 rows batched and one by one)"
        add_version(folder, 2, models / "mlp.keras", (x, y[::-1].copy()))
        with pytest.raises(ModelLoadError, match=r"output 'dense_1', row \d \(in batches of up to \d+ rows\): off by"):
            client.load("mlp", 2)
        states = {metadata.version: metadata for metadata in client.models("mlp")}
        assert (states[1].state, states[2].state) == ("ready", "failed")
        assert "golden.npz: model 'mlp' version 2, signature 'serving_default', output 'dense_1'" in states[2].error
        assert client.predict("mlp", x).receipt.version == 1
        write_golden(folder / "2", (x, y))
        client.load("mlp", 2)
        assert client.predict("mlp", x).receipt.version == 2
    assert daemon.stop() == 0, daemon.log
