"""A fake in a process of its own: to kill, to stop, to restart, as a real daemon can be.

Owns that process and the talk with it over pipes. What it answers is `daemon.py`'s. The thread that steers it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import TracebackType
from typing import Any

from predictd.testing.homes import announced, default_test_endpoint
from predictd.testing.models import FakeModel
from predictd.testing.presence import Presence
from predictd.testing.request_log import DEFAULT_WAIT_S
from predictd.testing.serving import claimed, standing_in
from predictd.testing.shipping import ship
from predictd.testing.watched import WatchedStandIn
from predictd_proto.endpoints import Endpoint
from predictd_proto.errors import ConfigError

_PAUSE_S = 0.01
_END_S = 10.0

#: A loaded machine may take long to start an interpreter; nothing waits for ever.
_ANSWER_S = 60.0


class FakeProcess:
    """A fake daemon as a process; it serves while the `with` block runs, and ends with it.

    Args:
        *models: What it serves. Their answers are constants, or functions that the process can import by name.
        endpoint: Where it listens; then `PREDICTD_ENDPOINT` is left alone. None for the one endpoint of this process's
            tests.

    Attributes:
        endpoint: Likewise.

    Examples:
        >>> import predictd
        >>> digits = FakeModel("digits", inputs=("float32", (None, 64)), outputs=("float32", (None, 10)))
        >>> with FakeProcess(digits) as process:
        ...     model = predictd.RemoteModel("digits")
        ...     before = model.predict([[0.0] * 64])
        ...     process.kill()
        ...     process.restart()
        ...     model.predict([[0.0] * 64]).shape
        (1, 10)
    """

    def __init__(self, *models: FakeModel, endpoint: str | None = None) -> None:
        self.endpoint: str = endpoint or default_test_endpoint()
        self._is_announced = endpoint is None
        self._models = [ship(model) for model in models]
        self._presence = Presence()
        self._presence.leave()
        self._process: subprocess.Popen[str] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> FakeProcess:
        endpoint = Endpoint.parse(self.endpoint)
        with ExitStack() as stack:
            stack.enter_context(claimed(endpoint))
            stack.callback(self._end)
            stack.enter_context(standing_in(WatchedStandIn(endpoint, self._presence)))
            if self._is_announced:
                stack.enter_context(announced(self.endpoint))
            self.restart()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def __repr__(self) -> str:
        state = f"pid {self.pid}" if self._process is not None and self._process.poll() is None else "not running"
        return f"<FakeProcess at {self.endpoint}, {state}>"

    @property
    def pid(self) -> int:
        """The process's id.

        Raises:
            ConfigError: It was never started.
        """
        return self._running().pid

    @property
    def exit_code(self) -> int | None:
        """How it ended, negative for a signal's number; None while it runs."""
        return self._running().poll()

    def restart(self) -> None:
        """Start the process again at the same endpoint, killing the one that runs; it serves when this returns.

        Raises:
            ConfigError: It can't serve; the text says why.
        """
        self.kill()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "predictd.testing.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([path or os.getcwd() for path in sys.path])},
            text=True,
        )
        self._tell({"endpoint": self.endpoint, "models": self._models})
        self._presence.come_back()

    def kill(self) -> None:
        """Kill it (SIGKILL), and wait until it is gone; without effect on one that is."""
        process = self._process
        if process is None or process.stdin is None or process.stdin.closed:
            return
        process.kill()
        process.wait()
        self._gone(process)

    def terminate(self) -> int:
        """Let it end by itself, and return its exit code."""
        process = self._running()
        if process.stdin is not None:
            with suppress(OSError):
                process.stdin.close()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
        code = process.wait()
        self._gone(process)
        return code

    def stop(self) -> None:
        """Stop it (SIGSTOP) as a debugger would, and wait until it is: connections stand, nobody answers."""
        process = self._running()
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        """Have a stopped one go on (SIGCONT)."""
        self._running().send_signal(signal.SIGCONT)

    def wait_until_dead(self, timeout_s: float = DEFAULT_WAIT_S) -> None:
        """Wait until it has died of itself, as after `fault("die")`.

        Raises:
            AssertionError: It lives on.
        """
        process = self._running()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            text = f"{self!r} is still alive after {timeout_s:g} s; it got {self.request_count()} requests"
            raise AssertionError(text) from None
        self._gone(process)

    @contextmanager
    def fault(self, name: str, **arguments: Any) -> Iterator[None]:
        """Switch a fault on for the length of a block.

        Args:
            name: One of the methods of `Faults`, such as "delay" or "die"; that one kills the process (SIGKILL).
            **arguments: As the method takes them; an error by its class.

        Raises:
            ConfigError: There is no such fault.
        """
        if "error" in arguments:
            arguments["error"] = arguments["error"].code
        number = self._tell({"do": "switch", "with": {"name": name, **arguments}})
        yield
        if self._running().poll() is None:
            with suppress(ConfigError, OSError):
                self._tell({"do": "end", "with": {"fault": number}})

    def request_count(self, model: str | None = None) -> int:
        """Return how many predict requests it got since it started or was reset."""
        return int(self._tell({"do": "count", "with": {"model": model}}))

    def wait_for_requests(self, count: int, model: str | None = None, *, timeout_s: float = DEFAULT_WAIT_S) -> None:
        """Wait until it got so many predict requests.

        Raises:
            AssertionError: They did not come in time.
        """
        _wait(
            lambda: self.request_count(model) >= count,
            timeout_s,
            lambda: f"{count} requests, got {self.request_count(model)}",
        )

    def reset(self) -> None:
        """Forget what was asked, and switch every fault off."""
        self._tell({"do": "reset"})

    def _tell(self, order: dict[str, Any]) -> Any:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            if not select.select([process.stdout], [], [], _ANSWER_S)[0]:
                text = f"the fake process at {self.endpoint} says nothing for {_ANSWER_S:g} s: stopped? Use resume()"
                raise ConfigError(text)
            line = process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            text = f"the fake process at {self.endpoint} is gone (exit code {process.wait()}); use restart()"
            raise ConfigError(text)
        said = json.loads(line)
        if "error" in said:
            text = f"the fake process at {self.endpoint}: {said['error']}"
            raise ConfigError(text)
        return said.get("said")

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            text = f"the fake process at {self.endpoint} was not started: use it in a `with` statement"
            raise ConfigError(text)
        return self._process

    def _gone(self, process: subprocess.Popen[str]) -> None:
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._presence.leave()

    def _end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
        elif self._process is not None:
            self._gone(self._process)


def _wait(predicate: Callable[[], bool], timeout_s: float, wanted: Callable[[], str]) -> None:
    end_s = time.monotonic() + timeout_s
    while not predicate():
        if time.monotonic() >= end_s:
            text = f"expected within {timeout_s:g} s: {wanted()}"
            raise AssertionError(text)
        time.sleep(_PAUSE_S)
