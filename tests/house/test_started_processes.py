"""What tests start ends with them, whatever went wrong: a start that fails, a leader that died before its workers."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from tests import daemon_process
from tests.daemon_process import DaemonProcess
from tests.pools.program import Program, python
from tests.waiting import wait_until

WORKER = "import time; time.sleep(600)"
LEADER = f"""
import pathlib, subprocess, sys
worker = subprocess.Popen([sys.executable, "-c", {WORKER!r}])
pathlib.Path("worker.new").write_text(str(worker.pid))
pathlib.Path("worker.new").rename("worker")
"""


@pytest.mark.integration
def test_a_daemon_that_is_not_ready_in_time_is_ended(run_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon_process, "START_TIMEOUT_S", 0.0)
    daemon = DaemonProcess(run_directory)
    with pytest.raises(AssertionError, match="not ready after"):
        daemon.start()
    assert daemon.process is not None
    assert daemon.process.returncode is not None


@pytest.mark.integration
def test_workers_that_outlive_their_program_are_ended(run_directory: Path) -> None:
    program = Program(python("-c", LEADER), run_directory)
    assert program.process.wait(60) == 0, program.log
    worker = psutil.Process(int((run_directory / "worker").read_text()))
    program.stop()
    wait_until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, what="the worker has ended")
