"""The daemon that is measured: `predictd serve` with some models on a socket of its own.

Owns starting it, waiting until it is ready, and its log, which goes into the error when it isn't in time.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import predictd
from benchmarks.processes.running import running

READY_TIMEOUT_S = 240.0


@dataclass(frozen=True)
class Daemon:
    """A daemon that is ready.

    Attributes:
        endpoint: Where it listens.
        pid: Its process id.
    """

    endpoint: str
    pid: int


def clean_environment(**changes: str) -> dict[str, str]:
    """Return this process's environment without any predictd setting, with changes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREDICTD_")}
    return {**kept, **changes}


@contextlib.contextmanager
def daemon(directory: Path, models: Sequence[Path], *options: str) -> Iterator[Daemon]:
    """Run a daemon.

    Args:
        directory: Where its socket and log are; short, since a socket's path is.
        models: Files that it serves.
        options: More options of `predictd serve`.
    """
    endpoint = f"ipc://{directory}/predictd.sock"
    log_path = directory / "predictd.log"
    command = [sys.executable, "-m", "predictd", "serve", "--endpoint", endpoint, *options, *map(str, models)]
    with log_path.open("w") as log, running(command, stdout=log, stderr=log, env=clean_environment()) as process:
        _wait_until_ready(process, endpoint, log_path)
        yield Daemon(endpoint, process.pid)


def _wait_until_ready(process: subprocess.Popen[str], endpoint: str, log_path: Path) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    with predictd.Client(endpoint) as client:
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(predictd.PredictdError):
                if client.status().is_ready:
                    return
            time.sleep(0.05)
    text = f"the daemon did not become ready:\n{log_path.read_text()}"
    raise RuntimeError(text)
