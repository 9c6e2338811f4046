"""What belongs to a process: the start of a backend, what is refused there, and memory given back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.backends.conftest import BACKENDS
from tests.daemon_process import run_command

_START = """
import sys
from pathlib import Path
import numpy as np
from predictd_server.models.backend import choose_backend
from predictd_server.models.files import ModelFile, ModelFormat
from predictd_server.models.settings import ModelSettings
from predictd_server.resident import resident_bytes
from predictd_server.settings import Settings
backend = choose_backend(settings := Settings(backend=sys.argv[1]))
backend.start(settings)
import keras
def load(path, **settings):
    file = ModelFile("m", Path(path), ModelFormat.KERAS)
    return backend.load(file, ModelSettings(name="m", path=file.path, **settings), (1, 2))
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_closed_model_gives_its_weights_back(backend: str, run_script: Callable[..., str], tmp_path: Path) -> None:
    code = (
        _START
        + """
path = sys.argv[2]
x = keras.Input((4000,), name="x")
keras.Model(x, keras.layers.Dense(16000)(x)).save(path)
load(path).close()
import gc; gc.collect(); gc.disable()
model = load(path)
held = resident_bytes()
[signature] = model.signatures.values()
model.close()
model.close()
try:
    signature.runner.run(signature.synthesise(1))
except RuntimeError as error:
    print(error)
print((held - resident_bytes()) >> 20)
"""
    )
    lines = run_script(code, backend, tmp_path / "wide.keras").split("\n")
    assert "the runner is closed" in lines[0]
    assert int(lines[1]) > 200, "256 MB of weights"


@pytest.mark.parametrize("backend", BACKENDS)
def test_tensorflow_that_is_imported_before_is_refused(backend: str, run_script: Callable[..., str]) -> None:
    code = """
import sys, types
sys.modules["tensorflow"] = types.ModuleType("tensorflow")
from predictd_proto.errors import ConfigError
from predictd_server.models.backend import choose_backend
from predictd_server.settings import Settings
settings = Settings(backend=sys.argv[1])
try:
    choose_backend(settings).start(settings)
except ConfigError as error:
    print(error.message)
"""
    assert "restart" in run_script(code, backend)


def test_tensorflow_that_is_installed_is_not_seen(run_script: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('imported')\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        + _START
        + """
try:
    import tensorflow
except ImportError as error:
    print(error)
"""
    )
    assert "No module named 'tensorflow'" in run_script(code, "jax")


def test_programs_for_lengths_that_clients_choose_are_bounded(run_script: Callable[..., str], tmp_path: Path) -> None:
    code = (
        _START
        + """
from predictd_server.keras_backends import jax_runner
jax_runner.MOST_PROGRAMS = 5
x = keras.Input((None, 1), name="x")
keras.Model(x, keras.layers.GlobalMaxPooling1D()(x)).save(sys.argv[2])
[signature] = load(sys.argv[2]).signatures.values()
runner = signature.runner
before = runner.traces
for length in (*range(1, 9), 8):
    [answer] = runner.run([np.full((1, length, 1), length, np.float32)])
    assert answer.tolist() == [[length]]
print(runner.traces - before, len(runner._programs))
"""
    )
    assert run_script(code, "jax", tmp_path / "m.keras").split() == ["8", "5"]


def test_a_backend_that_is_not_installed_is_named_with_its_extra_and_the_others(zoo: Path) -> None:
    done = run_command("serve", zoo / "mlp.keras", timeout_s=60)
    assert done.returncode == 78, done.stderr
    assert "predictd[server]" in done.stderr
    assert "'jax' or 'torch'" in done.stderr
