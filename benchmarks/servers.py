"""The processes that are measured: a bare echo, the model inside a process of its own, and a daemon.

Owns starting and ending them. Each is ended by its own process id when its `with` block ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import predictd

READY_TIMEOUT_S = 120.0


@contextlib.contextmanager
def running(command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a command for as long as the block lasts."""
    process = subprocess.Popen(command, text=True, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def echo_server(directory: Path) -> Iterator[str]:
    """Run the bare echo; gives its endpoint."""
    endpoint = f"ipc://{directory}/echo.sock"
    with running([sys.executable, "-m", "benchmarks.echo", endpoint], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield endpoint


class InProcess:
    """The model in a process of its own, measured on request.

    Attributes:
        predict_p50_us: Median time of `model.predict` with one row, in microseconds.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.predict_p50_us = float(self._read()["predict_p50_us"])

    def measure(self, seconds: float) -> tuple[float, float]:
        """Return the concrete function's p50 in microseconds, and its calls per second, at batch 1."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        answer = self._read()
        return float(answer["p50_us"]), float(answer["per_second"])

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            text = f"the in-process measurement ended with exit code {self._process.wait()}"
            raise RuntimeError(text)
        return dict(json.loads(line))


@contextlib.contextmanager
def in_process(model: Path) -> Iterator[InProcess]:
    """Run the model inside a process of its own."""
    command = [sys.executable, "-m", "benchmarks.in_process", str(model)]
    with running(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        yield InProcess(process)


@contextlib.contextmanager
def daemon(directory: Path, model: Path) -> Iterator[str]:
    """Run a daemon; gives its endpoint."""
    endpoint = f"ipc://{directory}/predictd.sock"
    log_path = directory / "predictd.log"
    command = [sys.executable, "-m", "predictd", "serve", "--endpoint", endpoint, str(model)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREDICTD_")}
    with log_path.open("w") as log, running(command, stdout=log, stderr=log, env=environment) as process:
        deadline = time.monotonic() + READY_TIMEOUT_S
        client = predictd.Client(endpoint)
        while True:
            if process.poll() is not None or time.monotonic() > deadline:
                text = f"the daemon did not become ready:\n{log_path.read_text()}"
                raise RuntimeError(text)
            with contextlib.suppress(predictd.PredictdError):
                if client.status().is_ready:
                    break
            time.sleep(0.05)
        client.close()
        yield endpoint
