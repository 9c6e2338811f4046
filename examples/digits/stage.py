"""A private directory, the processes that run in it, and their end.

Owns starting them with their output in files, and ending every one of them by its own pid however the programme ends:
done, failed, Ctrl-C, SIGTERM. It knows nothing of digits. Main thread.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NoReturn, TypeVar

import psutil

from scripts.redis_server import find_redis_server

CHECKOUT = Path(__file__).resolve().parents[2]
#: A Celery worker with a child that hangs never finishes its warm shutdown; a healthy one takes a second.
END_WAIT_S = 4.0
LOG_TAIL_LINES = 15
_T = TypeVar("_T")


class StageError(Exception):
    """A process did not do its part.

    Args:
        message: What was waited for, and what to do.
        process: Which one.
    """

    def __init__(self, message: str, process: str) -> None:
        super().__init__(message)
        self.process = process


class Stage:
    """A private temporary directory and the processes started in it.

    Use it as a context manager; leaving it ends the processes, the last started first, and removes the directory.

    Attributes:
        path: The directory, mode 0700.
        environ: What the processes get as their environment; change it before starting them.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="predictd-digits-"))
        # Absolute: the processes run in the directory and not where this one does.
        search = [CHECKOUT, *map(Path, filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))]
        self.environ = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(path.resolve()) for path in search),
            "PREDICTD_ENDPOINT": f"ipc://{self.path}/predictd.sock",
            # Notes about instruction sets and missing GPUs by the dozen.
            "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3"),
        }
        self._processes: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> Stage:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _leave)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # From here on to the end: a second Ctrl-C must not leave half of them running.
            signal.signal(number, signal.SIG_IGN)
        self.stop(*reversed(self._processes))
        shutil.rmtree(self.path, ignore_errors=True)

    def start(
        self, name: str, arguments: Sequence[str], environ: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start a process; its output goes to a file of its own.

        Args:
            name: What to call it.
            arguments: Its command line.
            environ: What to add to the environment.
        """
        with self.log_path(name).open("w") as log:
            self._processes[name] = subprocess.Popen(
                list(arguments),
                cwd=self.path,
                env={**self.environ, **(environ or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                # Ctrl-C reaches this process alone, which then ends the others in order.
                start_new_session=True,
            )
        return self._processes[name]

    def start_python(
        self, name: str, *arguments: str, environ: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start a module of this interpreter: `start_python("worker", "celery", "-A", ...)`."""
        return self.start(name, [sys.executable, "-m", *arguments], environ)

    def start_broker(self) -> str:
        """Return the URL of a broker: PREDICTD_BROKER_URL's, else that of a Redis started here on a socket file."""
        url = os.environ.get("PREDICTD_BROKER_URL")
        if not url:
            socket = self.path / "redis.sock"
            arguments = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(self.path)]
            self.start("redis", [str(find_redis_server()), *arguments])
            self.wait_for("redis", socket.exists, "listening", timeout_s=10)
            url = f"redis+socket://{socket}"
        self.environ["PREDICTD_BROKER_URL"] = url
        return url

    def log_path(self, name: str) -> Path:
        """Return the file with a process's output."""
        return self.path / f"{name}.log"

    def wait_for(self, name: str, ready: Callable[[], _T | None], what: str, *, timeout_s: float) -> _T:
        """Return what `ready` returns as soon as that is true.

        Args:
            name: The process that it depends on.
            ready: Asked again and again.
            what: What is waited for, for the error's text.
            timeout_s: How long to wait at most.

        Raises:
            StageError: The process ended, or the time did.
        """
        end_s = time.monotonic() + timeout_s
        while not (answer := ready()):
            code = self._processes[name].poll() if name in self._processes else None
            if code is not None:
                message = f"{name} ended with code {code} before it was {what}"
                raise StageError(message, name)
            if time.monotonic() > end_s:
                message = f"{name} was not {what} after {timeout_s:g} s"
                raise StageError(message, name)
            time.sleep(0.02)
        return answer

    def wait_for_end(self, name: str, *, timeout_s: float, watch: Callable[[], None]) -> None:
        """Wait until a process is done, calling `watch` meanwhile.

        Raises:
            StageError: It failed, or took longer.
        """
        process, end_s = self._processes[name], time.monotonic() + timeout_s
        while process.poll() is None:
            watch()
            if time.monotonic() > end_s:
                message = f"{name} took longer than {timeout_s:g} s"
                raise StageError(message, name)
            time.sleep(0.05)
        if process.returncode:
            message = f"{name} failed with code {process.returncode}"
            raise StageError(message, name)

    def pid(self, name: str) -> int:
        """Return a process's id."""
        return self._processes[name].pid

    def has_ended(self, name: str) -> bool:
        """Whether a process that was started is no more."""
        return self._processes[name].poll() is not None

    def names(self) -> list[str]:
        """Return what the running processes are called, in the order of their start."""
        return list(self._processes)

    def log_tail(self, name: str) -> str:
        """Return the end of a process's output."""
        path = self.log_path(name)
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        return "\n".join(lines[-LOG_TAIL_LINES:])

    def stop(self, *names: str) -> None:
        """End processes, each by its own pid: politely, and after a while for certain."""
        ending = [self._processes.pop(name) for name in names if name in self._processes]
        families = [_family(process) for process in ending if process.poll() is None]
        for family in families:
            with contextlib.suppress(psutil.NoSuchProcess):
                family[0].terminate()
        psutil.wait_procs([family[0] for family in families], timeout=END_WAIT_S)
        for family in families:
            for member in family:
                # psutil compares creation times: a pid that went to somebody else meanwhile is left alone.
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
        for process in ending:
            process.wait()


def _family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        parent = psutil.Process(process.pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _leave(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)
