"""A program under test in a process of its own: started, asked, watched and ended.

Owns the process, its family and its log. `HttpProgram` is asked by requests in parallel, `ScriptProgram` over its
standard input. The driver's thread, and threads of its own for requests in parallel.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from tests.daemon_process import clean_environment
from tests.logged_process import LoggedProcess, search_path
from tests.ports import free_port

STOP_TIMEOUT_S = 20.0
ANSWER_TIMEOUT_S = 100.0
PARALLEL = 64
#: What a login shell and a service have on most machines: fewer descriptors than the matrix has requests at once.
LOGIN_LIMITS = ("sh", "-c", 'ulimit -Sn 1024 2>/dev/null; exec "$@"', "sh")

Answers = list[dict[str, Any]]


class Program(LoggedProcess):
    """One program with its children.

    Args:
        command: How it is started.
        directory: Where it runs and logs: outside the checkout.
        environment: More of the environment.
    """

    #: Whether it is asked over its standard input.
    talks = False

    def __init__(self, command: Sequence[str], directory: Path, **environment: str) -> None:
        self.log_path = directory / "program.log"
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*LOGIN_LIMITS, *command],
                cwd=directory,
                env=clean_environment(PYTHONPATH=search_path(), **environment),
                stdin=subprocess.PIPE if self.talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if self.talks else log,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def family(self) -> list[psutil.Process]:
        """Return the program and all that it has started."""
        try:
            leader = psutil.Process(self.process.pid)
            return [leader, *leader.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def stop(self) -> None:
        """End it in an orderly way, and what is left of it and of its session by force."""
        family = self.family()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_TIMEOUT_S)
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        # Workers whose leader died first have no parent any more that would lead to them.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


class HttpProgram(Program):
    """A web server that answers `GET /?row=5`."""

    #: Requests at once.
    parallel = PARALLEL

    def __init__(self, command: Callable[[int], Sequence[str]], directory: Path, **environment: str) -> None:
        self.port = free_port()
        super().__init__(command(self.port), directory, **environment)
        self._callers = ThreadPoolExecutor(self.parallel)
        try:
            self.wait_until(self._is_up, "it answers")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it, and the callers."""
        super().stop()
        self._callers.shutdown(cancel_futures=True)

    def send(self, rows: Iterable[int]) -> Callable[[], Answers]:
        """Ask for rows, many at a time; return what waits for the answers."""
        pending = [self._callers.submit(self._get, f"/?row={row}") for row in rows]
        return lambda: [json.loads(future.result(ANSWER_TIMEOUT_S)) for future in pending]

    def _is_up(self) -> bool:
        try:
            return self._get("/") == b"up"
        except OSError:
            return False

    def _get(self, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_TIMEOUT_S)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        assert response.status == 200, f"{response.status} for {path}: {body[-2000:]!r}\n{self.log}"
        return body


class ShortQueueProgram(HttpProgram):
    """A web server that turns connections away where more than a few wait: Django's own takes 10."""

    parallel = 8


class ScriptProgram(Program):
    """A script that takes rows on its standard input (see `script.py`)."""

    talks = True

    def __init__(self, command: Sequence[str], directory: Path, **environment: str) -> None:
        super().__init__(command, directory, **environment)
        self._listener = ThreadPoolExecutor(1)

    def stop(self) -> None:
        """End it, and who listens to it."""
        super().stop()
        self._listener.shutdown()

    def send(self, rows: Iterable[int]) -> Callable[[], Answers]:
        """Ask for rows, all at once; return what waits for the answers."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(list(rows)) + "\n")
        self.process.stdin.flush()
        heard: Future[str] = self._listener.submit(self.process.stdout.readline)
        return lambda: self._said(heard)

    def _said(self, heard: Future[str]) -> Answers:
        line = heard.result(ANSWER_TIMEOUT_S)
        assert line, f"the script ended with {self.process.wait()}:\n{self.log}"
        answers: Answers = json.loads(line)
        return answers


def python(*arguments: str) -> list[str]:
    """Return the command that runs this interpreter."""
    return [sys.executable, *arguments]


def beside_python(name: str) -> str:
    """Return the path of a command that is installed with this interpreter."""
    return str(Path(sys.executable).with_name(name))
