"""A process that runs for as long as a block lasts, and a conversation with one, line by line.

Owns ending it, by its own process id, and the time-out of each answer: nothing waits for ever, and a lost answer ends
the measurement with what to look at. Both sides speak JSON, one line a message; the process says one line when it is
ready, and then one for each that it reads. Main thread.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: A turn, or a start with its imports, that takes this much longer than it should has lost an answer.
ANSWER_TIMEOUT_S = 180.0
END_TIMEOUT_S = 30.0
BOUND = Path(__file__).with_name("bound.py")


@contextlib.contextmanager
def running(command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a command for as long as the block lasts, and no longer than this process."""
    bound = [sys.executable, "-I", str(BOUND), str(os.getpid()), *command]
    process = subprocess.Popen(bound, text=True, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_TIMEOUT_S)
        finally:
            # Also where a second signal interrupts the wait.
            process.kill()
            process.wait()


class Conversation:
    """What is said to a process of ours, and what it answers.

    Attributes:
        pid: The process's.
        ready: What it said when it was ready.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid
        self.ready = self._read(ANSWER_TIMEOUT_S)

    def tell(self, question: object) -> None:
        """Ask, without waiting."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()

    def hear(self, takes_s: float = 0.0) -> dict[str, Any]:
        """Return the answer to what was asked first; it should not take much longer than it takes."""
        return self._read(takes_s + ANSWER_TIMEOUT_S)

    def ask(self, question: object, takes_s: float = 0.0) -> dict[str, Any]:
        """Ask and return the answer."""
        self.tell(question)
        return self.hear(takes_s)

    def _read(self, timeout_s: float) -> dict[str, Any]:
        # It says one line at a time, and only when asked: nothing of an earlier one is in the buffer.
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], timeout_s)[0]:
            text = f"{self._process.args!r} said nothing for {timeout_s:.0f} s: it waits for an answer that was lost"
            raise RuntimeError(text)
        line = self._process.stdout.readline()
        if not line:
            text = f"{self._process.args!r} ended with exit code {self._process.wait()}; run it by hand to see why"
            raise RuntimeError(text)
        return dict(json.loads(line))


@contextlib.contextmanager
def conversation(module: str, *arguments: object, **options: Any) -> Iterator[Conversation]:
    """Run a module of ours for as long as the block lasts, once it is ready."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    with running(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options) as process:
        try:
            yield Conversation(process)
        finally:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
