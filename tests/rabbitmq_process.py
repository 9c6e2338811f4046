"""A real RabbitMQ in a subprocess, on loopback ports that were free a moment ago; all that it writes is in a folder.

Owns the node and the port mapper (epmd) that it asks for its own address; none of a running system's is used.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon_process import short_directory
from tests.logged_process import LoggedProcess
from tests.ports import free_port

#: Debian's `rabbitmq-server` on PATH changes to a user of its own; this is what it becomes.
_SCRIPTS = (Path("/usr/lib/rabbitmq/bin/rabbitmq-server"),)


class RabbitMQ(LoggedProcess):
    """A node.

    Args:
        folder: Where its data and its log are.
        epmd_port: Its port mapper's.

    Attributes:
        url: The broker's URL.
    """

    def __init__(self, folder: Path, epmd_port: int) -> None:
        port, distribution_port = free_port(), free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{port}//"
        self.log_path = folder / "rabbitmq.log"
        (folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\n")
        (folder / "plugins").write_text("[].\n")
        environment = {
            **os.environ,
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(epmd_port),
            "RABBITMQ_NODENAME": f"predictd-{port}@localhost",
            "RABBITMQ_DIST_PORT": str(distribution_port),
            "RABBITMQ_MNESIA_BASE": str(folder),
            "RABBITMQ_LOG_BASE": str(folder),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
        }
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [str(_script())],
                env=environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=folder,
                start_new_session=True,
            )
        try:
            self.wait_until(lambda: "Server startup complete" in self.log, "RabbitMQ is up", 120)
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """End it, with the processes that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def running_rabbitmq() -> Iterator[str]:
    """Run RabbitMQ for as long as the block lasts; gives its URL. Skips where there is none."""
    epmd = shutil.which("epmd")
    if epmd is None or _script() is None:
        pytest.skip("no RabbitMQ: apt-get install rabbitmq-server")
    epmd_port = free_port()
    with short_directory() as name:
        mapper = subprocess.Popen([epmd, "-port", str(epmd_port), "-address", "127.0.0.1"], stdin=subprocess.DEVNULL)
        try:
            node = RabbitMQ(Path(name), epmd_port)
            try:
                yield node.url
            finally:
                node.kill()
        finally:
            mapper.kill()
            mapper.wait()


def _script() -> Path | None:
    return next((path for path in _SCRIPTS if path.exists()), None)
