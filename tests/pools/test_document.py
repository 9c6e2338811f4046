"""docs/pools.md: each of its files and commands is run as it stands, and its tables say what the matrix proves."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from celery import Celery

from tests.conftest import CHECKOUT
from tests.daemon_process import DaemonProcess, short_directory
from tests.docs.pages import blocks_of, write_files
from tests.pools.driver import required
from tests.pools.matrix import ROWS
from tests.pools.program import Program, beside_python
from tests.pools.test_limits import ENFORCED
from tests.ports import free_port

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.tensorflow]

PAGE = CHECKOUT / "docs" / "pools.md"
BLOCKS = blocks_of(PAGE)
COMMANDS = [line for block in BLOCKS if block.language == "sh" for line in block.text.strip().splitlines()]


def commands(program: str) -> list[str]:
    return [line for line in COMMANDS if line.split()[0] == program]


def table(heading: str) -> dict[str, list[str]]:
    """Return the rows of a section's table by their first cell."""
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows[1:]}


def test_every_block_is_a_file_or_commands_that_are_run_here() -> None:
    assert {block.language for block in BLOCKS} == {"python", "sh"}
    assert all(block.file for block in BLOCKS if block.language == "python")
    assert {line.split()[0] for line in COMMANDS} == {"celery", "gunicorn", "uwsgi", "uvicorn", "python"}


def test_the_limits_are_those_that_the_matrix_finds() -> None:
    rows = table("Celery")
    for pool, limits in ENFORCED.items():
        assert {*rows[f"`{pool}`"][3].split(", ")} - {"none"} == limits, pool


@pytest.mark.parametrize("heading", ["Celery", "Web servers", "Scripts"])
def test_the_tables_promise_nothing_that_is_not_supported(heading: str) -> None:
    rows = table(heading)
    assert rows.keys() == ROWS[heading].keys()
    for name, (supported, at_once, made, *_) in rows.items():
        assert supported.startswith("yes"), name
        assert (at_once, made) == (ROWS[heading][name].at_once, ROWS[heading][name].made), name


def test_each_row_is_a_test_and_each_test_is_in_a_row() -> None:
    modules = [f"tests/pools/{name}.py" for name in ("test_celery_pools", "test_processes", "test_web_servers")]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *modules]
    listed = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=200, check=False)
    assert listed.returncode == 0, listed.stdout
    there = re.findall(r"^tests/pools/\w+\.py::(\S+)$", listed.stdout, flags=re.MULTILINE)
    proved = [test for rows in ROWS.values() for row in rows.values() for test in row.tests]
    assert sorted(proved) == sorted(there)


@pytest.fixture(scope="module")
def digits_daemon(models: Path) -> Iterator[DaemonProcess]:
    """A daemon that serves a model under the page's name."""
    with short_directory() as name:
        daemon = DaemonProcess(Path(name), f"digits={models / 'mlp.keras'}").start()
        try:
            yield daemon
        finally:
            daemon.kill()


@pytest.fixture
def start_command(run_directory: Path, digits_daemon: DaemonProcess) -> Iterator[Callable[..., Program]]:
    """Run one of the page's commands, beside its files."""
    write_files(BLOCKS, run_directory)
    started: list[Program] = []

    def start(line: str) -> Program:
        name, *arguments = shlex.split(line)
        required({"python": "numpy", "uwsgi": "pyuwsgi"}.get(name, name))
        environment = {"PREDICTD_ENDPOINT": digits_daemon.endpoint, "PYTHONUNBUFFERED": "1"}
        started.append(Program([beside_python(name), *arguments], run_directory, **environment))
        return started[-1]

    yield start
    for program in started:
        program.stop()


@pytest.mark.parametrize("line", commands("python"))
def test_script(line: str, start_command: Callable[..., Program]) -> None:
    program = start_command(line)
    assert program.process.wait(60) == 0, program.log
    expected = {"score.py": "100", "patient.py": "(1, 10)"}.get(line.split()[1], "1000")
    assert program.log.strip().splitlines()[-1] == expected, program.log


@pytest.mark.parametrize("line", [*commands("gunicorn"), *commands("uwsgi"), *commands("uvicorn")])
def test_web_server(line: str, start_command: Callable[..., Program]) -> None:
    port = str(free_port())
    program = start_command(line.replace("8000", port))
    answers: list[bytes] = []

    def answered() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as response:
                answers.append(response.read())
        except OSError:
            return False
        return True

    program.wait_until(answered, "it answers")
    assert len(json.loads(answers[0])[0]) == 10


@pytest.mark.redis
@pytest.mark.parametrize("line", commands("celery"))
def test_worker(line: str, start_command: Callable[..., Program], run_directory: Path, redis_url: str) -> None:
    for pool in ("gevent", "eventlet"):
        if pool in line:
            required(pool)
    tasks = run_directory / "tasks.py"
    tasks.write_text(tasks.read_text().replace("redis://127.0.0.1:6379/0", redis_url))
    program = start_command(f"{line} --without-mingle --without-gossip")
    module = line.split()[2]
    with Celery("tests", broker=redis_url, backend=redis_url, set_as_current=False) as app:
        pending = [app.send_task(f"{module}.classify", [[0.0] * 64]) for _ in range(20)]
        program.wait_until(lambda: all(result.ready() for result in pending), "the tasks are done")
        assert {type(result.get()) for result in pending} == {int}
