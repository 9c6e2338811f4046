"""`predictd inspect`: what it tells of files is what the daemon tells of them once they are served."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predictd_proto.plain import to_plain
from tests.daemon_process import DaemonProcess, run_command

pytestmark = [pytest.mark.integration, pytest.mark.tensorflow]

#: What differs from load to load, and what only a daemon knows.
ITS_OWN = ("load_ms", "warmup_ms", "memory_bytes", "is_default", "runner", "runners", "batch_sizes", "ladders")


def inspect(*arguments: object, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command outside the checkout, on a terminal of 80 columns."""
    return run_command("inspect", *arguments, folder=folder or "/", COLUMNS="80")


def without(plain: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in plain.items() if key not in ITS_OWN}


def test_it_tells_what_the_daemon_tells(daemon: DaemonProcess, models: Path) -> None:
    ran = inspect(models, "--json")
    assert (ran.returncode, ran.stderr) == (0, "")
    with daemon.client() as client:
        served = client.models()
    told = {plain["name"]: plain for plain in json.loads(ran.stdout)}
    assert told.keys() == {metadata.name for metadata in served}
    for metadata in served:
        assert without(told[metadata.name]) == without(to_plain(metadata))
        assert metadata.traces == len(metadata.signatures)
        assert metadata.format in {"keras", "h5", "saved_model"}


@pytest.fixture(scope="module")
def repository(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1 of `mlp` with golden samples that it matches, version 2 with some that it doesn't; a broken file."""
    folder = tmp_path_factory.mktemp("repository")
    with np.load(models / "mlp.npz") as saved:
        rows, answers = saved["x"][:70], saved["y"][:70]
    for version, change in ((1, 0.0), (2, 0.25)):
        directory = folder / "mlp" / str(version)
        directory.mkdir(parents=True)
        (directory / "model.keras").write_bytes((models / "mlp.keras").read_bytes())
        expected = answers.copy()
        expected[66] += np.float32(change)
        arrays: dict[str, Any] = {"inputs/pixels": rows, "outputs/dense_1": expected}
        np.savez(directory / "golden.npz", **arrays)
    (folder / "broken.keras").write_bytes((models / "mlp.keras").read_bytes()[:1000])
    return folder


def test_the_gate_and_everything_else_in_80_columns(repository: Path) -> None:
    settings = '[models.mlp]\npath = "mlp"\nversions = "all"\nmax_batch_size = 64\n'
    (repository / "predictd.toml").write_text(settings, encoding="utf-8")
    ran = inspect("mlp", "--config", repository / "predictd.toml")
    assert ran.returncode == 65
    bad, good = ran.stdout.split("\n\n")
    text = " ".join(bad.split())
    assert text.startswith("mlp version 2 State failed Reason ")
    assert "golden.npz: model 'mlp' version 2, signature 'serving_default', output 'dense_1', row 66 " in text
    assert "(in batches of up to 64 rows): off by 0.25 " in text
    lines = good.splitlines()
    assert lines[:2] == ["mlp version 1", "  State        ready"]
    assert "    input      pixels float32[rows, 64]" in lines
    assert "  Batch sizes  1, 2, 4, 8, 16, 32, 64" in lines
    assert "  Parameters   9,610 (38.4 kB of weights)" in lines
    assert "  Gate         passed within 0.0001 (serving_default: 70 rows batched and one by" in lines
    assert "  Source       model.keras (keras)" in lines
    assert max(map(len, (line for line in lines if "/" not in line))) <= 80


def test_a_version_s_directory_is_told_of_as_the_daemon_serves_it(repository: Path) -> None:
    """Broken or not: the name, the number, the gate and what the configuration sets are the model's."""
    (repository / "tolerant.toml").write_text('[models."*"]\npath = "."\n[models.mlp]\ntolerance = 1.0\n')
    (repository / "mlp" / "7").mkdir(exist_ok=True)
    ran = inspect("mlp/1", "mlp/2", "iris=mlp/2", "mlp/7", "--json", folder=repository)
    assert (ran.returncode, ran.stderr) == (65, "")
    good, bad, called, empty = json.loads(ran.stdout)
    assert (good["name"], good["version"], good["state"]) == ("mlp", 1, "ready")
    assert good["gate"] == "passed within 0.0001 (serving_default: 70 rows batched and one by one)"
    assert (bad["name"], bad["version"], bad["state"]) == ("mlp", 2, "failed")
    assert "model 'mlp' version 2, signature 'serving_default', output 'dense_1', row 66 " in bad["error"]
    assert (called["name"], called["version"], called["state"]) == ("iris", 2, "failed")
    assert (empty["name"], empty["version"]) == ("mlp", 7)
    assert "expected one model in this version's directory, got an empty directory" in empty["error"]
    (repository / "again.keras").write_bytes((repository / "mlp" / "1" / "model.keras").read_bytes())
    ran = inspect(".", "again", "--config", "../../tolerant.toml", "--json", folder=repository / "mlp" / "2")
    assert (ran.returncode, ran.stderr) == (0, "")
    tolerated, by_name = json.loads(ran.stdout)
    assert (by_name["name"], by_name["version"]) == ("again", 1)
    assert (tolerated["name"], tolerated["version"]) == ("mlp", 2)
    assert tolerated["gate"].startswith("passed within 1 ")
    shutil.rmtree(repository / "mlp" / "7")


def test_golden_samples_of_a_daemon_are_what_the_same_model_answers(
    daemon: DaemonProcess, models: Path, tmp_path: Path
) -> None:
    (tmp_path / "two.keras").write_bytes((models / "two.keras").read_bytes())
    np.savez(tmp_path / "rows.npz", left=np.random.default_rng(0).random((5, 3)), right=np.arange(10).reshape(5, 2))
    golden = ("golden", "two", "rows.npz", "--output", "two.golden.npz", "--endpoint", daemon.endpoint)
    ran = run_command(*golden, folder=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    told = inspect("two.keras", "--json", folder=tmp_path)
    assert told.returncode == 0, told.stdout
    assert json.loads(told.stdout)[0]["gate"] == (
        "passed within 0.0001 (serving_default: 5 rows batched and one by one)"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 78, "nothing to inspect; expected predictd inspect [NAME=]PATH..."),
        (("nowhere.keras",), 78, "nowhere.keras: no such file or directory"),
        (("broken.keras",), 65, "broken.keras: not a whole Keras file"),
        (("mlp/1/golden.npz",), 78, "can't be served: expected a .keras file"),
        (("broken.keras", "--config", "none.toml"), 78, "configuration file none.toml: can't be read"),
    ],
)
def test_what_it_cant_look_at_is_told_before_tensorflow_starts(
    repository: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ran = inspect(*arguments, folder=repository)
    assert (ran.returncode, ran.stdout) == (code, "")
    assert said in ran.stderr
    assert ran.stderr.startswith("predictd: ")
    assert "Traceback" not in ran.stderr
