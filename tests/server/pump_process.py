"""The pump bench in a process of its own, for tests that kill it or look at it from outside."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.conftest import CHECKOUT
from tests.server.pump_bench import running_pump

MOST_ROWS = 1 << 16


class PumpProcess:
    """A pump at an endpoint.

    Attributes:
        endpoint: Where it listens.
        pid: Its process, as it sees itself.
    """

    def __init__(self, path: str, prefix: Sequence[str] = ()) -> None:
        command = [*prefix, sys.executable, "-m", "tests.server.pump_process", path]
        self.process = subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.endpoint, _, pid = self.process.stdout.readline().strip().partition(" ")
        self.pid = int(pid or 0)

    def kill(self) -> None:
        self.process.kill()
        self.end()

    def end(self) -> None:
        self.process.communicate()


@contextmanager
def pump_process(path: str, prefix: Sequence[str] = ()) -> Iterator[PumpProcess]:
    pump = PumpProcess(path, prefix)
    try:
        yield pump
    finally:
        if pump.process.poll() is None:
            pump.end()


def main() -> None:
    import os

    with running_pump(endpoint=f"ipc://{sys.argv[1]}", max_batch_size=MOST_ROWS) as pump:
        print(pump.endpoint, os.getpid(), flush=True)  # noqa: T201
        sys.stdin.read()
        pump.open_gate()


if __name__ == "__main__":
    main()
