"""Weights are in memory once: a loaded model takes little more than Keras' own. Each measure has its own process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.tensorflow

WEIGHTS_BYTES = 4 * 4000 * 4000

CODE = """
import gc, psutil, sys
from pathlib import Path
from predictd_server.tensorflow.runtime import RuntimeSettings, configure
configure(RuntimeSettings())
import keras, numpy as np, tensorflow as tf
from predictd_server.tensorflow.loading import load_model
from predictd_server.models.reclaim import reclaim_memory
from predictd_server.models.files import file_at
from predictd_server.models.settings import ModelSettings
small, large, way = sys.argv[1:]

def load(path):
    if way == "predictd":
        model = load_model(file_at(Path(path)), ModelSettings(name="m", path=Path(path)), (1, 2))
        [signature] = model.signatures.values()
        assert signature.runner.kind == "session", signature.runner.kind
        return model, lambda rows: signature.runner.run([rows])[0]
    model = keras.saving.load_model(path, compile=False)
    function = tf.function(lambda x: model(x, training=False), autograph=False)
    return model, lambda rows: function(tf.constant(rows)).numpy()

load(small)[1](np.zeros((1, 4), "float32"))
reclaim_memory()
before = psutil.Process().memory_info().rss
kept, run = load(large)
run(np.zeros((2, 4000), "float32"))
reclaim_memory()
print(psutil.Process().memory_info().rss - before)
"""


def growth_bytes(directory: Path, way: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(directory / "small.keras"), str(directory / "large.keras"), way],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    return int(done.stdout)


def test_weights_are_not_held_twice(tmp_path: Path) -> None:
    import keras

    for name, width in (("small", 4), ("large", 4000)):
        layers = [keras.Input((width,)), keras.layers.Dense(width, kernel_initializer="zeros")]
        keras.Sequential(layers).save(tmp_path / f"{name}.keras")
    in_keras, in_predictd = growth_bytes(tmp_path, "keras"), growth_bytes(tmp_path, "predictd")
    assert in_keras > 0.9 * WEIGHTS_BYTES
    assert in_predictd < in_keras + 0.4 * WEIGHTS_BYTES
