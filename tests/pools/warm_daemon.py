"""A daemon that starts again in a second or two: a fork of a process that has TensorFlow imported already.

Owns that process (`warm_start.py`) and what stands for the daemon's. The test's thread.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import psutil

from tests.conftest import CHECKOUT
from tests.daemon_process import STOP_TIMEOUT_S, DaemonProcess

#: Of a process that is no child of this one: its exit code is its parent's to know.
UNKNOWN = -1


class Forked:
    """A process that is no child of this one."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._process = psutil.Process(pid)

    def poll(self) -> int | None:
        """Return a code if it has ended."""
        if self.returncode is None and not self._process.is_running():
            self.returncode = UNKNOWN
        return self.returncode

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self._process.kill()

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it is gone."""
        self._process.wait(timeout)
        self.returncode = UNKNOWN
        return self.returncode


class WarmDaemon(DaemonProcess):
    """As `DaemonProcess`, but for how it starts."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        super().__init__(directory, *arguments)
        with self.log_path.open("ab") as log:
            self._source = subprocess.Popen(
                [sys.executable, "-m", "tests.pools.warm_start"],
                cwd=CHECKOUT,
                # Its threads would not be there in a fork; TensorFlow has its own, which come later.
                env={**self.environment, "OPENBLAS_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def launch(self, arguments: list[str]) -> Forked:
        """Fork it."""
        assert self._source.stdin is not None
        assert self._source.stdout is not None
        order = {"directory": str(self.directory), "log": str(self.log_path), "arguments": arguments}
        self._source.stdin.write(json.dumps(order) + "\n")
        self._source.stdin.flush()
        said = self._source.stdout.readline()
        assert said, f"what daemons are forked from has ended:\n{self.log}"
        return Forked(int(said))

    def __enter__(self) -> WarmDaemon:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        self._source.communicate(timeout=STOP_TIMEOUT_S)
