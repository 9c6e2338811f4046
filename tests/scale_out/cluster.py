"""What runs on each host of a test: a daemon and a Celery worker.

Owns how they are started, killed and started again, as a supervisor would. Each daemon listens at the same address, its
host's own loopback: no host can ask another's.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.celery.worker_process import WorkerProcess
from tests.daemon_process import clean_environment, short_directory
from tests.logged_process import LoggedProcess, search_path
from tests.scale_out.network import Host

ENDPOINT = "tcp://127.0.0.1:5570"
APP = "tests.scale_out.slow_app"


class HostProcess(LoggedProcess):
    """A command on a host, with a log.

    Args:
        host: Where.
        log_path: Where it logs to; a second start writes on.
        words: The command.
        environment: More of its environment.
    """

    def __init__(self, host: Host, log_path: Path, *words: str, **environment: str) -> None:
        self.log_path = log_path
        self._host, self._words = host, words
        self._environment = clean_environment(PYTHONPATH=search_path(), **environment)
        self.start()

    def start(self) -> None:
        """Start it, or start it again."""
        with self.log_path.open("ab") as log:
            self.process = self._host.run(*self._words, stdout=log, stderr=log, env=self._environment, cwd="/")

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()


class Station:
    """A host with its daemon and its worker.

    Args:
        host: Where.
        folder: Whatever the two write.
        broker_url: The broker.
        daemon: The words after `python -m` that start the daemon, but for its endpoint.
        settings: Environment variables of both.
    """

    def __init__(self, host: Host, folder: Path, broker_url: str, daemon: list[str], **settings: str) -> None:
        self.host, self.folder, self.settings = host, folder / host.name, settings
        self.folder.mkdir()
        self._broker_url = broker_url
        words = [sys.executable, "-m", *daemon, "--endpoint", ENDPOINT]
        self.daemon = HostProcess(host, self.folder / "daemon.log", *words, **settings)
        self.worker = self._new_worker()

    def wait_until_ready(self) -> None:
        """Wait until the worker takes tasks and the daemon answers them."""
        asking = self.host.command(sys.executable, "-m", "predictd", "status", "--endpoint", ENDPOINT, "--wait", "200")
        told = subprocess.run(asking, check=False, capture_output=True, text=True, cwd="/", env=clean_environment())
        assert told.returncode == 0, told.stderr + self.daemon.log
        self.worker.wait_for_log(" ready.")

    def crash_worker(self) -> None:
        """SIGKILL the whole worker, and start another."""
        self.worker.kill()
        self.worker = self._new_worker()

    def kill(self) -> None:
        """End both."""
        self.worker.kill()
        self.daemon.kill()

    @property
    def scored(self) -> int:
        """Chunks that the worker has done, as its log tells."""
        return len(re.findall(r"predictd\.score_chunk\S* succeeded in", self.worker.log))

    def _new_worker(self) -> WorkerProcess:
        settings = {name: text for name, text in self.settings.items() if name.startswith("PREDICTD_")}
        return WorkerProcess(
            self.folder,
            self._broker_url,
            ENDPOINT,
            "--hostname",
            f"{self.host.name}@%h",
            # As docs/scale-out.md has it: a host that is cut off holds less.
            "--prefetch-multiplier",
            "1",
            app=APP,
            prefix=self.host.command(),
            **settings,  # type: ignore[arg-type]
        )


@contextmanager
def shared_folder() -> Iterator[Path]:
    """A folder that all hosts see, as on a file server."""
    with short_directory() as name:
        yield Path(name)
