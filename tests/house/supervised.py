"""A copy of supervisord.conf brought up in a folder of its own, as the tests kill and ask it.

Owns the supervisord process and, through it, broker, predictd and worker; `stop` ends them all. Runs in the test's
thread; imports neither TensorFlow nor the Celery app.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from xmlrpc.client import Fault, ServerProxy

import numpy as np
import psutil
from supervisor.xmlrpc import SupervisorTransport

from tests.daemon_process import clean_environment
from tests.house.checkout import CHECKOUT
from tests.ports import free_port

START_TIMEOUT_S = 240.0
STOP_TIMEOUT_S = 60.0
ASK_TIMEOUT_S = 45.0
ASK = """
import json, sys
from predictd_celery import app
task = app.send_task("predictd.predict", ("mlp", json.load(sys.stdin)), expires=30, retry=False)
print(json.dumps(task.get(timeout=30)))
"""

Result = TypeVar("Result")


class Supervised:
    """The three programs of supervisord.conf, all their files and sockets in one private folder.

    Args:
        folder: A private folder with a path short enough for sockets.
        model: The model file to serve.
    """

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder = folder
        (folder / "run").mkdir()
        shutil.copy(CHECKOUT / "supervisord.conf", folder)
        shutil.copytree(CHECKOUT / "scripts", folder / "scripts")
        self._environment = clean_environment(
            # What `. .venv/bin/activate` does.
            PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            PREDICTD_MODELS=str(model),
            PREDICTD_ENDPOINT=f"ipc://{folder}/p.sock",
            PREDICTD_BROKER_URL=f"redis://127.0.0.1:{free_port()}/0",
            PREDICTD_CELERY_CONCURRENCY="2",
        )
        self._process = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", "supervisord.conf"],
            cwd=folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def info(self, program: str) -> dict[str, Any]:
        """Return what supervisord knows of a program: its pid, its state, when it started."""
        transport = SupervisorTransport(serverurl=f"unix://{self.folder}/run/supervisor.sock")
        try:
            found = ServerProxy("http://unused", transport=transport).supervisor.getProcessInfo(program)
        finally:
            transport.close()
        assert isinstance(found, dict)
        return found

    def pid(self, program: str) -> int:
        """Return a program's pid, once it has one."""

        def find() -> int:
            pid: int = self.info(program)["pid"]
            assert pid, f"{program} is not running: {self.logs}"
            return pid

        return self.eventually(find)

    def answer(self, rows: np.ndarray) -> np.ndarray:
        """Return a model's answer, asked for as a Celery task, as soon as the whole path works."""
        return self.eventually(lambda: self._ask_once(rows))

    def eventually(self, attempt: Callable[[], Result]) -> Result:
        """Return the attempt's result as soon as it succeeds; the last error where it never does."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                return attempt()
            except (AssertionError, OSError, Fault, subprocess.TimeoutExpired):
                if time.monotonic() > deadline_s:
                    print(self.logs)  # noqa: T201  pytest shows it beside the error
                    raise
            time.sleep(0.2)

    @property
    def logs(self) -> str:
        """The last lines of all logs."""
        logs = sorted((self.folder / "run").glob("*.log"))
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in logs)

    def stop(self) -> None:
        """End supervisord and all that it started."""
        everything = psutil.Process(self._process.pid).children(recursive=True)
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        finally:
            _, left = psutil.wait_procs(everything, timeout=30)
            for process in left:
                process.kill()
        assert not left, f"left behind: {left}"

    def _ask_once(self, rows: np.ndarray) -> np.ndarray:
        # A process per question: Celery keeps a connection to a broker that the test is about to kill.
        asked = subprocess.run(
            [sys.executable, "-c", ASK],
            env=self._environment,
            input=json.dumps(rows.tolist()),
            capture_output=True,
            text=True,
            timeout=ASK_TIMEOUT_S,
            check=False,
        )
        assert asked.returncode == 0, asked.stderr[-2000:]
        return np.asarray(json.loads(asked.stdout), dtype=np.float32)
