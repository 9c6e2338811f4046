"""`predictd tune` with real TensorFlow, and what it says to bad inputs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import psutil
import pytest
from click.testing import CliRunner

from predictd_server.settings_sources import load_settings
from predictd_server.tuning.cli import tune as command
from tests.conftest import CHECKOUT
from tests.daemon_process import DaemonProcess, run_command
from tests.model_files import damaged_keras_file
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

TEXT = """\
# Where the models are.
[models]
mlp = "mlp.keras"  # the only one
"""


def tune(folder: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_command("tune", *arguments, folder=folder, timeout_s=120, **environment)


@pytest.fixture
def folder(models: Path, tmp_path: Path) -> Path:
    (tmp_path / "mlp.keras").write_bytes((models / "mlp.keras").read_bytes())
    (tmp_path / "predictd.toml").write_text(TEXT, encoding="utf-8")
    return tmp_path


@pytest.mark.tensorflow
def test_it_measures_tells_and_writes_what_is_valid(folder: Path, daemon: DaemonProcess) -> None:
    """Beside a daemon, which it says is in the way. What is faster is the machine's business."""
    ran = tune(
        folder,
        *("mlp", "--config", "predictd.toml", "--seconds", "0.1", "--only", "batch_sizes"),
        *("--output", "plots"),
        PREDICTD_ENDPOINT=daemon.endpoint,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("warning: a daemon (process ") == 1
    lines = ran.stdout.splitlines()
    assert lines[0].startswith("mlp version 1: ")
    assert lines[2].split()[:3] == ["setting", "runs", "as"]
    assert lines[3].split("  ")[0] == "as it is set"
    # Beyond 64 it is the machine's business as well.
    assert any(line.startswith("batch sizes now: [1, 2, 4, 8, 16, 32, 64") for line in lines)
    ElementTree.fromstring((folder / "plots" / "mlp.svg").read_text())
    assert (folder / "plots" / "mlp.csv").read_text().startswith("rows,rows_per_second,batch_ms\n1,")
    settings = load_settings(flags={}, models=(), environ={}, config=str(folder / "predictd.toml"))
    written = (folder / "predictd.toml").read_text()
    assert written.startswith("# Where the models are.\n")
    assert "# the only one" in written
    assert bool(settings.models[0].batch_sizes) == ("written into predictd.toml" in ran.stdout) == (written != TEXT)


@pytest.mark.tensorflow
def test_interrupted_it_writes_nothing_and_leaves_no_process(folder: Path) -> None:
    arguments = ["tune", "mlp", "--config", "predictd.toml", "--seconds", "600"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREDICTD_")}
    # Below a shell's background job the signal is ignored, and so it would be by what is started here.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "predictd", *arguments],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        wait_until(psutil.Process(process.pid).children, what="a trial")
        trials = psutil.Process(process.pid).children()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert process.returncode == 130
    assert said.endswith("predictd: interrupted; nothing was written\n")
    assert not any(trial.is_running() and trial.status() != psutil.STATUS_ZOMBIE for trial in trials)
    assert (folder / "predictd.toml").read_text() == TEXT


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nowhere",), 78, "nowhere: no such file or directory, and no model of the configuration (those are: none)"),
        (("nowhere", "--config", "predictd.toml"), 78, "(those are: mlp)"),
        (("mlp", "--config", "none.toml"), 78, "configuration file none.toml: can't be read"),
        (("mlp", "--config", "wrong.toml"), 78, "unknown setting max_batchsize; did you mean max_batch_size?"),
        (("other.keras", "--config", "predictd.toml"), 78, "other.keras is no model of it; add it to its [models]"),
        (("mlp", "--config", "predictd.toml", "--output", "mlp.keras"), 78, "--output mlp.keras: can't be made"),
        ((".", "--config", "predictd.toml"), 78, "expected one: name one of them"),
        (("damaged.keras",), 65, "damaged.keras"),
        (("mlp", "--seconds", "0"), 2, "Invalid value for '--seconds'"),
        (("mlp", "--only", "colour"), 2, "Invalid value for '--only'"),
    ],
)
def test_bad_inputs_are_told_before_anything_is_measured(
    folder: Path, arguments: tuple[str, ...], code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("PREDICTD_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(folder)
    monkeypatch.setattr("signal.signal", lambda number, handler: None)
    (folder / "wrong.toml").write_text("max_batchsize = 4\n")
    (folder / "other.keras").write_bytes((folder / "mlp.keras").read_bytes())
    if arguments[0].startswith("damaged"):
        damaged_keras_file(folder / "damaged.keras")
    ran = CliRunner().invoke(command, arguments)
    assert (ran.exit_code, ran.stdout) == (code, "")
    assert said in ran.stderr
    assert "loading the model" not in ran.stderr or code == 65
    assert isinstance(ran.exception, SystemExit)


def test_help_needs_no_tensorflow() -> None:
    code = "import sys; from predictd_server.tuning.cli import tune; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, check=False).returncode == 0
