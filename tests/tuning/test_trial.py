"""A trial's process: how it ends, and that one which hangs is not waited for. Nothing is loaded in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from predictd_proto.errors import ModelLoadError
from predictd_server.tuning import trial
from predictd_server.tuning.trial import TrialProcess
from predictd_server.tuning.variant import Variant

ANSWER = """{"runner": "session", "sizes": [1, 2], "notes": []}"""

#: Says at its end that it was left to end by itself.
LEAVES = f"""
import atexit, pathlib, sys
atexit.register(pathlib.Path(sys.argv[1]).touch)
sys.stdin.readline()
print('{ANSWER}', flush=True)
sys.stdin.read()
"""

STAYS = f"""
import sys, time
sys.stdin.readline()
print('{ANSWER}', flush=True)
time.sleep(600)
"""

#: The real one, but for what it loads.
REAL = """
from predictd_server.tuning import trial_process
trial_process._load = lambda order: ({"runner": order.model}, None)
trial_process.main()
"""


@pytest.fixture
def left(tmp_path: Path) -> Path:
    return tmp_path / "left"


def run_instead(monkeypatch: pytest.MonkeyPatch, code: str, *arguments: object) -> None:
    monkeypatch.setattr(trial, "_COMMAND", [sys.executable, "-c", code, *map(str, arguments)])


def test_it_is_left_to_end_by_itself(monkeypatch: pytest.MonkeyPatch, left: Path) -> None:
    """TensorFlow removes its temporary files then."""
    monkeypatch.setattr(trial, "_LEAVE_S", 60.0)
    run_instead(monkeypatch, LEAVES, left)
    running = TrialProcess("m", None, Variant())
    assert running.loaded.sizes == (1, 2)
    running.close()
    assert left.exists()


def test_one_that_stays_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_LEAVE_S", 0.05)
    run_instead(monkeypatch, STAYS)
    running = TrialProcess("m", None, Variant())
    running.close()
    with pytest.raises((ModelLoadError, ValueError)):
        running.durations_s(1, 0.1)


def test_a_load_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_LEAVE_S", 0.05)
    monkeypatch.setattr(trial, "_MOST_S", 0.05)
    run_instead(monkeypatch, "import time; time.sleep(600)")
    with pytest.raises(ModelLoadError, match=r"the process that tried the model \(xla = true\) said nothing for 0 s"):
        TrialProcess("m", None, Variant(model={"xla": True}))


def test_one_that_ends_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    run_instead(monkeypatch, "raise SystemExit(3)")
    with pytest.raises(ModelLoadError, match=r"\(as it is set\) ended: exit code 3"):
        TrialProcess("m", None, Variant())


def test_it_ends_with_whoever_started_it() -> None:
    process = subprocess.Popen([sys.executable, "-c", REAL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    out, _ = process.communicate('{"model": "m.keras", "config": null}\n', timeout=60)
    assert process.returncode == 0
    assert '"runner": "m.keras"' in out
