"""An idle prefork child, with predictd's tasks and without anything: what does each cost in memory?

Owns starting two otherwise equal workers. The broker is Celery's in-memory one: nothing is ever sent.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time

import psutil

from benchmarks.processes.memory import MIB, child_pids, memory_of
from benchmarks.processes.running import running

START_TIMEOUT_S = 60.0
CHILDREN = 4

_BARE = """
from celery import Celery
app = Celery("bare", broker="memory://")
@app.task
def nothing():
    return None
"""
_APPS = {
    "bare": _BARE,
    "predictd": _BARE + "import predictd, predictd_celery.tasks\npredictd.RemoteModel('mlp')\n",
}


def idle_child_mib(kind: str) -> float:
    """Return the mean memory of one of four idle prefork children in MiB: its own pages and its share of the shared.

    Args:
        kind: "bare", or "predictd" for a worker with the predict task and a model.
    """
    program = f"{_APPS[kind]}app.worker_main(['worker', '--pool=prefork', '--concurrency={CHILDREN}'])"
    children: list[psutil.Process] = []
    command = [sys.executable, "-c", program]
    try:
        with running(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_environment()) as process:
            pids = _wait_for_children(process)
            children += map(psutil.Process, pids)
            return memory_of(pids).pss_bytes / len(pids) / MIB
    finally:
        # A parent that had to be killed leaves its children.
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PREDICTD_")}


def _wait_for_children(process: subprocess.Popen[str]) -> list[int]:
    deadline = time.monotonic() + START_TIMEOUT_S
    seen: list[int] = []
    while time.monotonic() < deadline and process.poll() is None:
        children = child_pids(process.pid)
        if len(children) == CHILDREN and children == seen:
            return children
        seen = children
        time.sleep(1.0)
    text = f"the worker had {len(seen)} of {CHILDREN} children; exit code {process.poll()}"
    raise RuntimeError(text)
