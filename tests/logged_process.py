"""A process under test that writes a log, as tests wait for it. Owns neither its start nor its end."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import CHECKOUT

START_TIMEOUT_S = 240.0


class LoggedProcess:
    """What programs and workers have in common.

    Attributes:
        process: The process.
        log_path: Where its log is.
    """

    process: subprocess.Popen[Any]
    log_path: Path

    @property
    def log(self) -> str:
        """What it has logged."""
        return self.log_path.read_text(errors="replace")

    def wait_until(self, is_so: Callable[[], object], what: str, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until something is so; fail at once where the process has ended."""
        end_s = time.monotonic() + timeout_s
        while not is_so():
            assert self.process.poll() is None, f"the process ended with {self.process.returncode}:\n{self.log}"
            assert time.monotonic() < end_s, f"not so after {timeout_s} s: {what}\n{self.log}"
            time.sleep(0.02)


def search_path() -> str:
    """Return a PYTHONPATH by which a process in another folder finds the tests and what this one finds."""
    inherited = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    return os.pathsep.join([str(CHECKOUT), *(str(Path(path).resolve()) for path in inherited)])
