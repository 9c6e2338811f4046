"""A model with layers of the user's own, served by a daemon that finds them beside its configuration file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.daemon_process import run_command

pytestmark = [pytest.mark.integration, pytest.mark.tensorflow]

LAYERS = """
import keras


@keras.saving.register_keras_serializable("shop")
class Double(keras.layers.Layer):
    def call(self, inputs):
        return inputs * 2
"""
SAVE = """
import keras, shop_layers
keras.Sequential([keras.Input((3,), name="x"), shop_layers.Double()]).save("double.keras")
"""
CONFIGURATION = """
[models.double]
path = "double.keras"
modules = ["shop_layers"]
"""


def test_a_module_beside_the_configuration_file_is_found(tmp_path: Path, start_daemon: Callable) -> None:
    (tmp_path / "shop_layers.py").write_text(LAYERS)
    (tmp_path / "predictd.toml").write_text(CONFIGURATION)
    subprocess.run([sys.executable, "-c", SAVE], cwd=tmp_path, check=True, timeout=120)
    daemon = start_daemon(PREDICTD_CONFIG=str(tmp_path / "predictd.toml"))
    rows = np.arange(6, dtype="float32").reshape(2, 3)
    with daemon.client() as client:
        np.testing.assert_array_equal(client.predict("double", rows).outputs, rows * 2)
        [model] = client.models()
    ran = run_command("inspect", "double.keras", "--config", "predictd.toml", folder=tmp_path)
    assert ran.returncode == 0, ran.stdout
    assert any("its setting `modules` runs shop_layers" in note for note in model.notes)
