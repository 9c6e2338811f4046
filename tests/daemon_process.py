"""A real daemon in a subprocess, as tests start, wait for, signal and end it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Protocol

import predictd
from predictd_proto.status import ServerStatus
from tests.waiting import wait_until

#: A start imports TensorFlow: seconds, or minutes where many others want the processor.
START_TIMEOUT_S = 240.0
STOP_TIMEOUT_S = 60.0


def clean_environment(**changes: str) -> dict[str, str]:
    """Return this process's environment without any predictd setting, with changes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREDICTD_")}
    return {**kept, **changes}


def run_command(
    *arguments: object, folder: Path | str = "/", timeout_s: float = 300, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `predictd` to its end, outside the checkout unless a folder is given."""
    return subprocess.run(
        [sys.executable, "-m", "predictd", *map(str, arguments)],
        cwd=folder,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )


class ServerProcess(Protocol):
    """What is done with a daemon's process."""

    pid: int
    returncode: int | Any

    def poll(self) -> int | None: ...

    def kill(self) -> None: ...

    def wait(self, timeout: float | None = None) -> int: ...


class DaemonProcess:
    """`predictd serve` with some models, outside the checkout, with its log in a file.

    Args:
        directory: A private directory for its socket and log; short, since a socket's path is.
        arguments: What to hand to `predictd serve`.
        endpoint: Where it listens; None for a socket in the directory.
    """

    def __init__(self, directory: Path, *arguments: str, endpoint: str | None = None, **environment: str) -> None:
        self.directory = directory
        self.endpoint = endpoint or f"ipc://{directory}/p.sock"
        self.arguments = arguments
        self.environment = clean_environment(**environment)
        self.log_path = directory / "daemon.log"
        self.process: ServerProcess | None = None

    def start(self, *, wait: bool = True) -> DaemonProcess:
        """Start it; wait until it is ready. One that isn't in time is ended."""
        self.process = self.launch(["serve", "--endpoint", self.endpoint, *self.arguments])
        if wait:
            try:
                self.wait_until_ready()
            except BaseException:
                self.kill()
                raise
        return self

    def launch(self, arguments: list[str]) -> ServerProcess:
        """Start the command, as its user would."""
        command = [sys.executable, "-m", "predictd", *arguments]
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                command, cwd=self.directory, env=self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process is not None
        return self.process.pid

    @property
    def log(self) -> str:
        """What it has logged."""
        return self.log_path.read_text(errors="replace")

    def client(self, **options: object) -> predictd.Client:
        """Return a client for it."""
        return predictd.Client(self.endpoint, **options)  # type: ignore[arg-type]

    def status(self) -> ServerStatus:
        """Return its status."""
        with self.client() as client:
            return client.status()

    def wait_until_ready(self) -> None:
        """Wait until every model is loaded."""
        assert self.process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"the daemon ended with {self.process.returncode}:\n{self.log}"
            try:
                if self.status().is_ready:
                    return
            except predictd.PredictdError:
                pass
            time.sleep(0.05)
        text = f"the daemon was not ready after {START_TIMEOUT_S} s:\n{self.log}"
        raise AssertionError(text)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def pause(self) -> None:
        """Stop it (SIGSTOP) as a debugger would; wait until all its threads stand, for they may answer till then."""
        self.signal(signal.SIGSTOP)
        wait_until(self._stands_still, what=f"all threads of process {self.pid} stand still")

    def resume(self) -> None:
        """Have a paused one go on (SIGCONT)."""
        self.signal(signal.SIGCONT)

    def _stands_still(self) -> bool:
        try:
            stats = [path.read_text() for path in Path(f"/proc/{self.pid}/task").glob("*/stat")]
        except (FileNotFoundError, ProcessLookupError):  # a thread ended between the look and the reading
            return False
        # man 5 proc_pid_stat: the state follows the name in brackets, which may hold anything.
        return {stat.rpartition(") ")[2][0] for stat in stats} == {"T"}

    def kill(self) -> None:
        """End it as a crash would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def wait(self, timeout_s: float = START_TIMEOUT_S) -> int:
        """Wait for its end, of which it may think only once it has started; return its exit code."""
        assert self.process is not None
        return self.process.wait(timeout_s)

    def stop(self) -> int:
        """End it in an orderly way; return its exit code."""
        if self.process is None or self.process.poll() is not None:
            return self.process.returncode if self.process else 0
        self.resume()
        self.signal(signal.SIGTERM)
        try:
            return self.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            text = f"the daemon did not stop on SIGTERM:\n{self.log}"
            raise AssertionError(text) from None


def short_directory() -> tempfile.TemporaryDirectory[str]:
    """Return a temporary directory whose path is short enough for a socket."""
    return tempfile.TemporaryDirectory(prefix="pd-", dir="/tmp")
