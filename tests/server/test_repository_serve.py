"""`predictd serve` with a wrong configuration of models: it ends at once, before TensorFlow, and says what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.daemon_process import run_command
from tests.model_files import damaged_keras_file, keras_file, saved_model

pytestmark = pytest.mark.integration


def served(folder: Path, *arguments: str, **environment: str) -> str:
    """Return what `predictd serve` says as it refuses to start."""
    done = run_command("serve", *arguments, folder=folder, timeout_s=60, XDG_RUNTIME_DIR=str(folder), **environment)
    assert done.returncode == 78, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    keras_file(tmp_path / "m.keras")
    saved_model(tmp_path / "other" / "m" / "1")
    (tmp_path / "empty").mkdir()
    saved_model(tmp_path / "wrong" / "v1")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "m.keras").write_bytes((tmp_path / "m.keras").read_bytes()[:-20])
    damaged_keras_file(tmp_path / "damaged" / "m.keras")
    return tmp_path


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("m=m.keras m=other/m", "model name 'm' is taken twice: by "),
        ("m.keras other", "model name 'm' is taken twice: by "),
        ("empty", "no model in this directory"),
        ("wrong", "wrong/v1: is no version; expected its name to be a whole number from 1 on"),
        ("half/m.keras", "not a whole Keras file"),
        ("damaged/m.keras", "not a whole Keras file"),
        ("n=m.keras/1", "can't be looked at: Not a directory"),
    ],
)
def test_wrong_models_on_the_command_line(argument: str, said: str, folder: Path) -> None:
    assert said in served(folder, *argument.split())


def test_wrong_models_in_the_environment(folder: Path) -> None:
    assert "taken twice" in served(folder, PREDICTD_MODELS="m.keras:other/m")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('path = "m.keras"\nversoins = 2', "models.m: unknown setting versoins; did you mean versions?"),
        ('path = "m.keras"\nlabels = {stable = 2}', "label 'stable' of model 'm' names version 2, but "),
        ('path = "gone"', "gone: no such file or directory"),
        ('path = "m.keras"\ntags = ["serve"]', "tags has no effect"),
    ],
)
def test_wrong_models_in_the_file(lines: str, said: str, folder: Path) -> None:
    (folder / "predictd.toml").write_text(f"[models.m]\n{lines}")
    assert said in served(folder, "--config", "predictd.toml")
