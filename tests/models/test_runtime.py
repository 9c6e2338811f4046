"""TensorFlow starts with the settings asked for, once, and quietly. Each test has a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from predictd_server.processors import usable_processors
from predictd_server.tensorflow.stderr_filter import filtered_stderr, is_noise

PRELUDE = """
import json, os, sys
from predictd_proto.errors import ConfigError
from predictd_server.tensorflow.runtime import RuntimeSettings, configure, describe
"""


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TF_", "KERAS"))}
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + code],
        env={**kept, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


@pytest.mark.tensorflow
def test_settings_are_in_effect_and_the_terminal_stays_clean() -> None:
    code = """
configure(RuntimeSettings(intra_op_threads=3, inter_op_threads=2, deterministic=True, onednn=False))
configure(RuntimeSettings(intra_op_threads=3, inter_op_threads=2, deterministic=True, onednn=False))
import tensorflow as tf
tf.constant(1.0) + 1.0
told = describe()
assert (told["intra_op_threads"], told["inter_op_threads"], told["onednn"]) == (3, 2, False), told
assert told["deterministic"] and told["memory_growth"] and "CPU:0" in told["devices"], told
assert tf.config.threading.get_intra_op_parallelism_threads() == 3
json.dumps(told)
try:
    configure(RuntimeSettings(intra_op_threads=4))
except ConfigError as error:
    print(error)
"""
    done = run(code)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("TensorFlow was started with {'intra_op_threads': 3")


@pytest.mark.tensorflow
def test_defaults_start_quietly_with_keras_on_tensorflow() -> None:
    code = """
configure(RuntimeSettings())
import keras, tensorflow as tf
assert keras.backend.backend() == "tensorflow"
assert describe()["intra_op_threads"] == describe()["usable_cpus"]
keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).predict(tf.zeros((1, 2)), verbose=0)
"""
    done = run(code, KERAS_BACKEND="jax")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.tensorflow
def test_settings_that_come_too_late_are_refused() -> None:
    code = """
import tensorflow as tf
tf.constant(1.0)
for settings in (RuntimeSettings(onednn=False), RuntimeSettings(intra_op_threads=5)):
    try:
        configure(settings)
    except ConfigError as error:
        print(error)
"""
    done = run(code)
    assert done.returncode == 0, done.stderr
    late, threads = done.stdout.splitlines()
    assert late.startswith("onednn = False comes too late")
    assert threads.startswith("TensorFlow was started before predictd set its threads")


def test_a_missing_tensorflow_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "tensorflow.py").write_text("raise ImportError('no such module')")
    code = f"""
sys.path.insert(0, {str(tmp_path)!r})
try:
    configure(RuntimeSettings())
except ConfigError as error:
    print(error)
"""
    done = run(code)
    assert done.stdout.strip().endswith("install it with: pip install 'predictd[server]'"), done.stderr


def test_importing_the_package_imports_no_tensorflow() -> None:
    code = """
import predictd_server.trials.warmup, predictd_server.trials.probe, predictd_server.processors
import predictd_server.trials.agreement, predictd_server.models.load_failure, predictd_server.runner
import predictd_server.models.files
print(sorted({"tensorflow", "keras", "h5py"} & set(sys.modules)))
"""
    assert run(code).stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("line", "is_dropped"),
    [
        (b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n", True),
        (b"I0000 00:00:1795383385.705802    5949 port.cc:153] oneDNN custom operations are on.\n", True),
        (b"W0000 00:00:1795383385.705802    5949 gpu_device.cc:1] no driver\n", True),
        (b"E0000 00:00:1795383385.7 5949 cuda_fft.cc:4] Unable to register cuFFT factory\n", True),
        (b"2026-01-02 03:04:05.678901: I tensorflow/core/platform/cpu_feature_guard.cc:210] This\n", True),
        (b"E0000 00:00:1795383385.7 5949 cuda_driver.cc:1] failed call to cuInit\n", False),
        (b"F0000 00:00:1795383385.7 5949 core.cc:1] Check failed\n", False),
        (b"2026-01-02 03:04:05,678 INFO predictd: model digits\n", False),
        (b"Traceback (most recent call last):\n", False),
    ],
)
def test_only_tensorflows_own_start_is_noise(line: bytes, is_dropped: bool) -> None:
    assert is_noise(line) == is_dropped


def test_what_is_not_noise_comes_out_afterwards(capfd: pytest.CaptureFixture[str]) -> None:
    with filtered_stderr():
        os.write(2, b"I0000 00:00:1.2 3 port.cc:1] hello\nkept\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "kept\nafter\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "max 100000"}, 4),
        ({"cpu.max": "6400000 100000"}, 4),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu.max": "rubbish"}, 4),
        ({}, 4),
    ],
)
def test_a_containers_quota_counts(
    files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_processors(tmp_path) == expected
