"""Orders to a fake in another process: one line each way, numbered, so that a late answer is nobody else's.

Owns the parent's end of that conversation; `child.py` has the other. It starts and ends no process. One thread at a
time.
"""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import suppress
from itertools import count
from typing import Any

from predictd.connections.polling import new_poll
from predictd.deadline import Deadline
from predictd_proto.errors import ConfigError

_CHUNK_BYTES = 1 << 16


class Orders:
    """Steers one child over its standard input and output.

    Args:
        process: The child, both pipes in bytes.
        where: The fake's endpoint, for error texts.

    Attributes:
        mistakes: What the child told unasked: answers that did not fit.
        is_closed: No more can be given.
    """

    def __init__(self, process: subprocess.Popen[bytes], where: str) -> None:
        self.mistakes: list[str] = []
        self._process = process
        self._where = where
        self._numbers = count()
        self._rest = b""
        self.is_closed: bool = False

    def give(self, order: dict[str, Any], timeout_s: float) -> Any:
        """Give an order, and return what the child says to it.

        Raises:
            ConfigError: It refuses, is gone, or says nothing.
        """
        number = self.send(order)
        deadline = Deadline(timeout_s * 1000)
        while True:
            line = self._line(deadline)
            if line is None:
                text = f"the fake process at {self._where} says nothing for {timeout_s:g} s: stopped? Use resume()"
                raise ConfigError(text)
            if not line:
                raise self._is_gone()
            said = json.loads(line)
            self._note(said)
            if said.get("number") != number:
                continue  # an unasked word, or an answer that nobody waits for any more
            if "error" in said:
                text = f"the fake process at {self._where}: {said['error']}"
                raise ConfigError(text)
            return said.get("said")

    def send(self, order: dict[str, Any]) -> int:
        """Give an order without waiting for what is said to it; return its number.

        Raises:
            ConfigError: The child is gone.
        """
        number = next(self._numbers)
        if self.is_closed:
            raise self._is_gone()
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({**order, "number": number}).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise self._is_gone() from None
        return number

    def finish(self) -> None:
        """Let the child end by itself: it does when there are no more orders."""
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()

    def close(self) -> None:
        """Hear what a child that has ended said last, and close the pipes."""
        if self.is_closed:
            return
        self.is_closed = True
        self.finish()
        now = Deadline(0)
        while line := self._line(now):
            with suppress(ValueError):  # it was killed in mid-word
                self._note(json.loads(line))
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _note(self, said: dict[str, Any]) -> None:
        if "mistake" in said:
            self.mistakes.append(said["mistake"])

    def _line(self, deadline: Deadline) -> bytes | None:
        """Return the next line; an empty one at the end; None when the time is up."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        poll = new_poll(descriptor)
        while b"\n" not in self._rest:
            # Its own buffer in place of the pipe object's: a poll sees only what nobody has read.
            if not poll.poll(deadline.remaining_ms):
                if deadline.is_over:
                    return None
                continue
            chunk = os.read(descriptor, _CHUNK_BYTES)
            if not chunk:
                return b""
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _is_gone(self) -> ConfigError:
        text = f"the fake process at {self._where} is gone (exit code {self._process.wait()}); use restart()"
        return ConfigError(text)
