"""A fake in a process of its own: to kill, to stop, to restart, as a real daemon can be.

Owns that process. The talk with it is `orders.py`'s, what it answers `daemon.py`'s. The thread that steers it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from types import TracebackType
from typing import Any

from predictd.testing.effects import error_of
from predictd.testing.homes import announced, default_test_endpoint
from predictd.testing.mistakes import Mistakes
from predictd.testing.models import FakeModel
from predictd.testing.orders import Orders
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
        self._process: subprocess.Popen[bytes] | None = None
        self._orders: Orders | None = None
        self._is_stopped = False
        self._mistakes = Mistakes()
        self._stack = ExitStack()

    def __enter__(self) -> FakeProcess:
        endpoint = Endpoint.parse(self.endpoint)
        with ExitStack() as stack:
            stack.enter_context(claimed(endpoint))
            stack.callback(self.kill)
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
        if kind is None:
            self.check()

    def __repr__(self) -> str:
        state = f"pid {self.pid}" if self._process is not None and self._process.poll() is None else "not running"
        return f"<FakeProcess at {self.endpoint}, {state}>"

    @property
    def pid(self) -> int:
        """The process's id.

        Raises:
            ConfigError: It was never started.
        """
        return self._running()[0].pid

    @property
    def exit_code(self) -> int | None:
        """How it ended, negative for a signal's number; None while it runs."""
        return self._running()[0].poll()

    def restart(self) -> None:
        """Start the process again at the same endpoint, killing the one that runs; it serves when this returns.

        Raises:
            ConfigError: It can't serve; the text says why.
        """
        self.kill()
        self._is_stopped = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", "predictd.testing.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([path or os.getcwd() for path in sys.path])},
        )
        self._orders = Orders(self._process, self.endpoint)
        self._tell({"endpoint": self.endpoint, "models": self._models})
        self._presence.come_back()

    def kill(self) -> None:
        """Kill it (SIGKILL), and wait until it is gone; without effect on one that is."""
        process = self._process
        if process is None:
            return
        process.kill()
        process.wait()
        self._gone()

    def terminate(self) -> int:
        """Let it end by itself, and return its exit code."""
        process, orders = self._running()
        orders.finish()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
        code = process.wait()
        self._gone()
        return code

    def stop(self) -> None:
        """Stop it (SIGSTOP) as a debugger would, and wait until it is: connections stand, nobody answers."""
        process, _ = self._running()
        self._is_stopped = True
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        """Have a stopped one go on (SIGCONT)."""
        process, _ = self._running()
        process.send_signal(signal.SIGCONT)
        self._is_stopped = False

    def wait_until_dead(self, timeout_s: float = DEFAULT_WAIT_S) -> None:
        """Wait until it has died of itself, as after `fault("die")`.

        Raises:
            AssertionError: It lives on.
        """
        process, _ = self._running()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            text = f"{self!r} is still alive after {timeout_s:g} s; it got {self.request_count()} requests"
            raise AssertionError(text) from None
        self._gone()

    def fault(self, name: str, **arguments: Any) -> AbstractContextManager[None]:
        """Switch a fault on: from here on, or with `with` for the length of a block.

        Args:
            name: One of the methods of `Faults`, such as "delay" or "die"; that one kills the process (SIGKILL).
            **arguments: As the method takes them.

        Raises:
            ConfigError: There is no such fault.
        """
        if "error" in arguments:
            error = error_of(arguments["error"])
            arguments["error"] = (error.code, error.message, dict(error.detail))
        _, orders = self._running()
        return self._until_left(orders, self._tell({"do": "switch", "with": {"name": name, **arguments}}))

    @contextmanager
    def _until_left(self, orders: Orders, number: int) -> Iterator[None]:
        try:
            yield
        finally:
            # A process that was started since never heard of it.
            if self._orders is orders:
                self._end_fault(orders, number)

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

    def check(self) -> None:
        """Raise what the fake could only tell its clients as an internal error; called when the fake ends.

        Raises:
            WrongAnswerError: An answer did not fit its signature, or an assertion in it failed.
        """
        process, orders = self._running()
        if process.poll() is None and not self._is_stopped:
            with suppress(ConfigError):  # it may end just now
                self.request_count()  # whatever was told before is heard with it
        self._hear(orders)
        self._mistakes.check()

    def _tell(self, order: dict[str, Any]) -> Any:
        return self._running()[1].give(order, _ANSWER_S)

    def _end_fault(self, orders: Orders, number: int) -> None:
        order = {"do": "end", "with": {"fault": number}}
        with suppress(ConfigError):  # it is gone, and the fault with it
            if self._is_stopped:
                orders.send(order)
            else:
                orders.give(order, _ANSWER_S)

    def _running(self) -> tuple[subprocess.Popen[bytes], Orders]:
        if self._process is None or self._orders is None:
            text = f"the fake process at {self.endpoint} was not started: use it in a `with` statement"
            raise ConfigError(text)
        return self._process, self._orders

    def _gone(self) -> None:
        if self._orders is not None and not self._orders.is_closed:
            self._orders.close()
            self._hear(self._orders)
            self._presence.leave()

    def _hear(self, orders: Orders) -> None:
        heard, orders.mistakes = orders.mistakes, []
        self._mistakes.add(*heard)


def _wait(predicate: Callable[[], bool], timeout_s: float, wanted: Callable[[], str]) -> None:
    end_s = time.monotonic() + timeout_s
    while not predicate():
        if time.monotonic() >= end_s:
            text = f"expected within {timeout_s:g} s: {wanted()}"
            raise AssertionError(text)
        time.sleep(_PAUSE_S)
