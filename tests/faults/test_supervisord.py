"""supervisord.conf for real: broker, predictd and worker come up; kill -9 of any one of them and all serves again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.daemon_process import clean_environment
from tests.redis_process import free_port

pytestmark = [pytest.mark.integration, pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(300)]

ASK = """
import sys
from predictd_celery import predict
print(len(predict.delay("mlp", [[0.5] * 64]).get(timeout=float(sys.argv[1]))[0]))
"""


class Supervised:
    """supervisord in the foreground, from a copy of what it needs of the checkout."""

    def __init__(self, directory: Path, models: Path) -> None:
        self.directory = directory
        shutil.copy(CHECKOUT / "supervisord.conf", directory)
        shutil.copytree(CHECKOUT / "scripts", directory / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
        (directory / "run").mkdir(mode=0o700)
        self.environment = clean_environment(
            PREDICTD_MODELS=str(models / "mlp.keras"),
            PREDICTD_ENDPOINT=f"ipc://{directory}/p.sock",
            PREDICTD_BROKER_URL=f"redis://127.0.0.1:{free_port()}/0",
            PREDICTD_CELERY_CONCURRENCY="2",
            PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        )
        self.process = subprocess.Popen(
            ["supervisord", "-n", "-c", "supervisord.conf"],
            cwd=directory,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def ask(self, timeout_s: float) -> str:
        """Send one task through Redis, the worker and the daemon; return what came back."""
        done = subprocess.run(
            [sys.executable, "-c", ASK, str(timeout_s)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s + 30,
            check=False,
        )
        return done.stdout.strip() or done.stderr

    def answers_within(self, timeout_s: float) -> None:
        """Wait until a task is answered."""
        deadline = time.monotonic() + timeout_s
        answer = ""
        while time.monotonic() < deadline:
            answer = self.ask(20)
            if answer == "10":
                return
        text = f"no answer within {timeout_s} s: {answer[-2000:]}\n{self.logs()}"
        raise AssertionError(text)

    def pid_of(self, program: str) -> int:
        """Return a program's process id; 0 while it is down."""
        command = ["supervisorctl", "-c", "supervisord.conf", "pid", program]
        done = subprocess.run(
            command, cwd=self.directory, env=self.environment, capture_output=True, text=True, check=False
        )
        return int(done.stdout.strip()) if done.stdout.strip().isdigit() else 0

    def logs(self) -> str:
        """Return the ends of all logs."""
        return "\n".join(
            f"== {path.name}\n{path.read_text()[-1500:]}" for path in (self.directory / "run").glob("*.log")
        )

    def stop(self) -> int:
        """End all of it in an orderly way."""
        self.process.terminate()
        return self.process.wait(120)


@pytest.fixture(scope="module")
def supervised(models: Path):
    from tests.daemon_process import short_directory

    with short_directory() as name:
        system = Supervised(Path(name), models)
        try:
            system.answers_within(120)
            yield system
        finally:
            system.stop()


@pytest.mark.parametrize("program", ["predictd", "worker", "broker"])
def test_after_kill_9_of_one_all_is_serving_again(supervised: Supervised, program: str) -> None:
    before = supervised.pid_of(program)
    os.kill(before, signal.SIGKILL)
    supervised.answers_within(90)
    assert supervised.pid_of(program) not in (0, before)


def test_nothing_is_left_after_the_stop(models: Path) -> None:
    from tests.daemon_process import short_directory

    with short_directory() as name:
        system = Supervised(Path(name), models)
        system.answers_within(120)
        pids = [system.pid_of(program) for program in ("predictd", "worker", "broker")]
        system.stop()
        assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
        assert not (Path(name) / "p.sock").exists()
