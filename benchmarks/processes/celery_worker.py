"""A real prefork worker with a Redis server of its own, as the Celery section asks them.

Owns starting both, and ending them with their block. The Redis server is the one that `scripts/redis_server.py` finds;
it listens on a socket in the section's directory and keeps nothing.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.processes.daemon import clean_environment
from benchmarks.processes.running import running

CHECKOUT = Path(__file__).parents[2]
START_TIMEOUT_S = 60.0
CHILDREN = 4


@contextlib.contextmanager
def redis_server(directory: Path) -> Iterator[str]:
    """Run a Redis server; gives the broker's URL.

    Raises:
        RuntimeError: There is none on this machine, or it did not start.
    """
    path, log_path = directory / "redis.sock", directory / "redis.log"
    # Port 0: no tcp at all, so no port that somebody else may want.
    arguments = ["--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(directory)]
    with log_path.open("w") as log:
        command = [sys.executable, str(CHECKOUT / "scripts" / "redis_server.py"), *arguments]
        with running(command, stdout=log, stderr=log) as process:
            _wait(process, path.exists, "redis-server", log_path)
            yield f"redis+socket://{path}"


@contextlib.contextmanager
def prefork_worker(
    directory: Path,
    broker_url: str,
    endpoint: str,
    *,
    children: int = CHILDREN,
    app: str = "benchmarks.loads.celery_tasks",
) -> Iterator[int]:
    """Run a worker; gives its process id.

    Args:
        directory: Where its log is.
        broker_url: Its broker.
        endpoint: The daemon that its tasks ask.
        children: How many it has.
        app: The module with its tasks.
    """
    log_path = directory / "worker.log"
    options = ["worker", "--pool", "prefork", "--concurrency", str(children), "--loglevel", "info"]
    quiet = ["--without-mingle", "--without-gossip", "--without-heartbeat"]
    command = [sys.executable, "-m", "celery", "-A", app, *options, *quiet]
    environment = clean_environment(PREDICTD_BROKER_URL=broker_url, PREDICTD_ENDPOINT=endpoint)
    with (
        log_path.open("w") as log,
        running(command, stdout=log, stderr=log, env=environment, cwd=CHECKOUT) as process,
    ):
        _wait(process, lambda: " ready." in log_path.read_text(errors="replace"), "the worker", log_path)
        yield process.pid


def _wait(process: subprocess.Popen[str], is_ready: Callable[[], bool], name: str, log_path: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        if is_ready():
            return
        time.sleep(0.05)
    text = f"{name} did not become ready:\n{log_path.read_text(errors='replace')}"
    raise RuntimeError(text)
