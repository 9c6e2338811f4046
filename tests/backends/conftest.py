"""Fixtures for Keras on JAX and PyTorch: files made by Keras on JAX, and one daemon on each backend that serves them.

`make test-backends` runs these tests, in an environment without TensorFlow; without JAX and PyTorch none is collected.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import CHECKOUT
from tests.daemon_process import DaemonProcess, clean_environment, short_directory

if find_spec("jax") is None or find_spec("torch") is None:
    collect_ignore_glob = ["test_*.py"]

BACKENDS = ("jax", "torch")


@dataclass(frozen=True)
class Served:
    """A daemon on one backend, and what Keras itself answers on it.

    Attributes:
        backend: "jax" or "torch".
        daemon: Serves the whole zoo.
        answers: By model and path within the answer.
    """

    backend: str
    daemon: DaemonProcess
    answers: dict[str, dict[str, Any]]


def run_module(module: str, *arguments: object, backend: str) -> None:
    """Run a module of the tests in a process of its own, with Keras on a backend."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    environment = clean_environment(KERAS_BACKEND=backend)
    subprocess.run(command, cwd=CHECKOUT, env=environment, check=True, timeout=240)


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the zoo's models, as Keras on JAX saves them."""
    directory = tmp_path_factory.mktemp("zoo")
    run_module("tests.backends.zoo_files", directory, backend="jax")
    return directory


@pytest.fixture(scope="session", params=BACKENDS)
def served(request: pytest.FixtureRequest, zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    backend: str = request.param
    saved = tmp_path_factory.mktemp("answers") / "answers.npz"
    run_module("tests.backends.local_answers", zoo, saved, backend=backend)
    answers: dict[str, dict[str, Any]] = {}
    with np.load(saved) as arrays:
        for key in arrays.files:
            model, _, path = key.partition("/")
            answers.setdefault(model, {})[path] = arrays[key]
    with short_directory() as name:
        daemon = DaemonProcess(Path(name), "--backend", backend, "--max-batch-size", "8", str(zoo)).start()
        yield Served(backend, daemon, answers)
        assert daemon.stop() == 0, daemon.log


@pytest.fixture
def run_script() -> Callable[..., str]:
    """Run Python code in a process that has `backend` in its `sys.argv`, and return what it printed."""

    def run(code: str, backend: str, *arguments: object) -> str:
        command = [sys.executable, "-c", code, backend, *map(str, arguments)]
        done = subprocess.run(
            command, cwd=CHECKOUT, env=clean_environment(), capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run
