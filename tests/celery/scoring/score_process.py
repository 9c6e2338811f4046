"""`predictd score` in a process of its own, as tests watch it, stop it and wait for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.conftest import CHECKOUT
from tests.daemon_process import clean_environment
from tests.logged_process import search_path
from tests.waiting import wait_until


class ScoreProcess:
    """One run; it is ended with the `with` block.

    Args:
        model: The model.
        path: The input.
        out: The output folder.
        options: More of the command.
        prefix: Words before the command, such as those that run it on another host.
        environment: Settings.
    """

    def __init__(
        self, model: str, path: Path, out: Path, *options: object, prefix: Sequence[str] = (), **environment: str
    ) -> None:
        self.out = out
        command = [sys.executable, "-m", "predictd", "score", model, str(path), "--output", str(out)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [*prefix, *command, *map(str, options)],
            env=clean_environment(PYTHONPATH=search_path(), **environment),
            cwd=CHECKOUT,
            stdout=pipe,
            stderr=pipe,
            text=True,
        )

    def __enter__(self) -> ScoreProcess:
        return self

    def __exit__(self, *_: object) -> None:
        with self.process:
            self.process.kill()

    @property
    def chunks(self) -> int:
        """How many chunks are done; at the end they are gone."""
        return len(list((self.out / ".predictd-score").glob("*.chunk")))

    def wait_for_chunks(self, count: int) -> None:
        """Wait until so many chunks are done."""

        def are_there() -> bool:
            assert self.process.poll() is None, self.process.communicate()
            return self.chunks >= count

        wait_until(are_there, 120, what=f"{count} chunks are done in {self.out}")

    def told(self, timeout_s: float = 120) -> str:
        """Wait for its good end; return what it says."""
        told, errors = self.process.communicate(timeout=timeout_s)
        assert self.process.returncode == 0, errors
        return told
