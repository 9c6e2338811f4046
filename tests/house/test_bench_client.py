"""The benchmark's client section runs: every way asks, every figure has its rounds. No figure is judged here."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks import askers
from benchmarks.askers import Asker
from benchmarks.client_section import measured
from benchmarks.servers import running
from tests.daemon_process import DaemonProcess

GOALS = 8


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.tensorflow
def test_every_way_of_asking_is_measured(daemon: DaemonProcess) -> None:
    figures = measured(daemon.endpoint, 2, 0.02, lambda text: None)
    assert len({figure.what for figure in figures}) == len(figures)
    for figure in figures:
        assert len(figure.rounds) >= 2 or "not installed" in figure.beside, figure
        assert all(value > 0 for value in figure.rounds), figure
    assert [figure.goal for figure in figures].count("<= 1.5") == GOALS
    assert all(" / bare DEALER loop" in figure.what for figure in figures if figure.goal)


@pytest.mark.integration
def test_a_process_that_says_nothing_does_not_hold_the_benchmark_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(askers, "ANSWER_TIMEOUT_S", 0.1)
    with running([sys.executable, "-c", "import time; time.sleep(600)"], stdout=subprocess.PIPE) as process:
        with pytest.raises(RuntimeError, match="said nothing"):
            Asker(process)
        assert process.stdout is not None
        process.stdout.close()
