"""The fake server as a process of its own: to kill, to stop, and to watch a client from."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


class FakeProcess:
    """A `fake_server` process, up when the constructor returns."""

    def __init__(self, endpoint: str, *flags: str) -> None:
        self.endpoint = endpoint
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.client.fake_server", endpoint, *flags],
            stdout=subprocess.PIPE,
            cwd=CHECKOUT,
            env=with_paths(),
            text=True,
        )
        self.wait_for("up")

    def __enter__(self) -> FakeProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()

    def wait_for(self, word: str) -> str:
        """Wait for a line that begins with a word."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(word):
                return line
        message = f"the fake server ended (exit code {self._process.wait()}) before it said {word!r}"
        raise AssertionError(message)

    def stop(self) -> None:
        """Stop it as a debugger would, and wait until it is."""
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def with_paths() -> dict[str, str]:
    """Return an environment in which the packages of this checkout are found."""
    paths = [str(CHECKOUT), str(CHECKOUT / "proto"), str(CHECKOUT / "client")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")])}


def run_program(program: str, *arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a program of a few lines in a fresh interpreter; what it forked ends with it, also where its time is up."""
    command = [sys.executable, "-c", program, *arguments]
    with subprocess.Popen(
        command,
        cwd=CHECKOUT,
        env=with_paths(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = process.communicate(timeout=timeout_s)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)
