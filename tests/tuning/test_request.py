"""A request, without any trial's process: what is written where, and what is told first."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from predictd_proto.errors import ConfigError
from predictd_server.settings_sources import load_settings
from predictd_server.tuning.found import Budget, Goal
from predictd_server.tuning.request import Request, run_tuning
from predictd_server.tuning.uninterrupted import uninterrupted
from tests.tuning.fake_trials import FakeTrials


def faster(rows: int, settings: Mapping[str, Any]) -> float:
    """XLA and other threads than are set pay, each for itself."""
    return 0.001 * rows / (2 if settings.get("xla") else 1) / (1.5 if "intra_op_threads" in settings else 1)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("PREDICTD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("predictd_server.tuning.request.usable_processors", lambda: 2)
    for name in ("m", "n"):
        # All that is looked at before a load.
        with ZipFile(tmp_path / f"{name}.keras", "w") as archive:
            archive.writestr("config.json", "{}")
    path = tmp_path / "predictd.toml"
    path.write_text("[models]\nm = 'm.keras'\n")
    return path


def run(config: Path, trials: FakeTrials | None = None, **options: Any) -> tuple[str, str]:
    said: list[str] = []
    told: list[str] = []
    request = Request("m", Budget(7, 0.1), Goal.BOTH, config=str(config), **options)
    run_tuning(request, say=said.append, tell=told.append, start=trials or FakeTrials(faster))
    return "\n".join(said), "\n".join(told)


def test_what_is_found_is_written(config: Path) -> None:
    said, _ = run(config, only=("xla", "intra_op_threads"))
    assert "written into" in said
    settings = load_settings(flags={}, models=(), environ={}, config=str(config))
    assert (settings.intra_op_threads, settings.models[0].xla) == (1, True)


def test_what_other_models_share_is_advice_and_the_rest_was_measured_without(config: Path) -> None:
    config.write_text("[models]\nm = 'm.keras'\nn = 'n.keras'\n")
    trials = FakeTrials(faster)
    said, _ = run(config, trials, only=("xla", "intra_op_threads"))
    assert "1 other model, not measured, would have it too (--server writes it):\n\nintra_op_threads = 1" in said
    settings = load_settings(flags={}, models=(), environ={}, config=str(config))
    assert (settings.intra_op_threads, settings.models[0].xla) == (0, True)
    said, _ = run(config, only=("intra_op_threads",), is_shared=True)
    assert load_settings(flags={}, models=(), environ={}, config=str(config)).intra_op_threads == 1


def test_what_the_environment_sets_is_not_tried(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREDICTD_INTRA_OP_THREADS", "2")
    said, told = run(config, only=("intra_op_threads",))
    assert "warning: intra_op_threads is not tried: environment PREDICTD_INTRA_OP_THREADS sets it" in told
    assert "the settings stay as they are" in said
    assert "intra_op_threads" not in config.read_text()


def test_models_that_the_environment_names_are_none_of_the_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREDICTD_MODELS", str(config.parent / "m.keras"))
    with pytest.raises(ConfigError, match=r"m is no model of it; the models are those of the environment PREDICTD_MOD"):
        run(config)


def test_a_form_that_can_t_be_edited_is_told_before_anything_is_measured(config: Path) -> None:
    config.write_text("models.'*'.path = '.'\nmax_queue_rows = 100\n")
    trials = FakeTrials(faster)
    with pytest.raises(ConfigError, match="or use --dry-run"):
        run(config, trials)
    assert trials.started == []
    run(config, only=("intra_op_threads",), is_shared=True)
    settings = load_settings(flags={}, models=(), environ={}, config=str(config))
    assert (settings.intra_op_threads, settings.max_queue_rows) == (1, 100)


def test_a_plot_that_can_t_be_written_comes_after_what_was_found(config: Path, tmp_path: Path) -> None:
    (tmp_path / "plots" / "m.svg").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"--output \S+: the plot can't be written: Is a directory"):
        run(config, output=tmp_path / "plots")
    assert "xla = true" in config.read_text()


def test_what_is_being_written_is_not_interrupted() -> None:
    before = signal.getsignal(signal.SIGINT)
    with uninterrupted():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is before
