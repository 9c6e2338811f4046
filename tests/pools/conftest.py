"""What the rows of the matrix share: one daemon, which each of them kills and starts again, and a table of results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.daemon_process import DaemonProcess, short_directory
from tests.pools.driver import Asked, asked_path, measure
from tests.pools.program import HttpProgram, Program, ScriptProgram
from tests.pools.warm_daemon import WarmDaemon
from tests.pools.worker import CONCURRENCY, TASKS, Worker

HEADING = (
    "| kind | requests | the 1,000 | processes | ticks in a call of 1 s | largest gap | restart | idle, of a core |"
)
_lines: list[str] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was measured."""
    if _lines:
        terminalreporter.section("pools")
        for line in [HEADING, "|---" * (HEADING.count("|") - 1) + "|", *_lines]:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def mortal_daemon(models: Path) -> Iterator[DaemonProcess]:
    """A daemon that may be killed by any test that starts it again."""
    served = str(models / "mlp.keras"), str(models / "sleeper")
    with short_directory() as name, WarmDaemon(Path(name), *served) as process:
        yield process.start()


@pytest.fixture
def row_environment(mortal_daemon: DaemonProcess, models: Path) -> dict[str, str]:
    """What a program of the matrix finds in its environment."""
    return {
        "PREDICTD_ENDPOINT": mortal_daemon.endpoint,
        "POOLS_ROWS": str(models / "mlp.npz"),
        "POOLS_ASKED": str(asked_path(mortal_daemon)),
        "USE_IN_PARENT": "1",
    }


@pytest.fixture
def start_program(run_directory: Path, row_environment: dict[str, str]) -> Iterator[Callable[..., Program]]:
    """Start a program of the test's own: `start_program(HttpProgram, command)`; it ends with the test."""
    started: list[Program] = []

    def start(kind: type[HttpProgram | ScriptProgram], command: object, **environment: str) -> Program:
        program = kind(command, run_directory, **{**row_environment, **environment})  # type: ignore[arg-type]
        started.append(program)
        return program

    yield start
    for program in started:
        program.stop()


@pytest.fixture
def start_worker(
    redis_url: str, run_directory: Path, row_environment: dict[str, str]
) -> Iterator[Callable[..., Worker]]:
    """Start a worker of the test's own: `start_worker("threads", "--loglevel=debug")`; it ends with the test."""
    environment = dict(row_environment)
    endpoint = environment.pop("PREDICTD_ENDPOINT")
    started: list[Worker] = []

    def start(pool: str, *options: str, children: int | None = None) -> Worker:
        children = children or CONCURRENCY[pool]
        chosen = (f"--pool={pool}", *options)
        worker = Worker(run_directory, redis_url, endpoint, *chosen, app=TASKS, children=children, **environment)
        started.append(worker)
        worker.wait_for_log(" ready.")
        return worker

    yield start
    for worker in started:
        worker.kill()


@pytest.fixture
def passes(
    mortal_daemon: DaemonProcess, digits: tuple[np.ndarray, np.ndarray], request: pytest.FixtureRequest
) -> Callable[..., None]:
    """Put a program through the matrix's checks."""

    def run(program: Asked, **options: bool) -> None:
        try:
            measured = measure(program, mortal_daemon, digits[1], **options)
        except BaseException:
            # It may be dead, or stopped: the next row gets another one.
            mortal_daemon.kill()
            mortal_daemon.start()
            raise
        _lines.append(measured.line(request.node.name))

    return run
