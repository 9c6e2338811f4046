"""A trial: one variant of the settings in a process of its own, which is asked to run batches.

Owns that process, from its start to its end, and what is said over its pipes. Threads, oneDNN and XLA can only be
chosen before TensorFlow starts, hence a process each. Main thread.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing.connection
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from predictd_proto.errors import ConfigError, ModelLoadError
from predictd_server.tuning.variant import Variant

_COMMAND = [sys.executable, "-m", "predictd_server.tuning.trial_process"]
_END_S = 10.0

#: It ends by itself once nothing more is asked, so that TensorFlow removes its temporary files.
_LEAVE_S = 2.0

#: What takes longer than this, on top of what was asked for, hangs: loads with XLA take minutes.
_MOST_S = 1800.0


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a trial has loaded.

    Attributes:
        runner: How its default signature is run.
        sizes: The batch sizes it would be served with, ascending; empty where rows are not merged.
        row_bytes: Bytes of one row of its inputs; 0 where that is not known beforehand.
        memory_bytes: What the process takes.
        notes: What an operator should know.
    """

    runner: str
    sizes: tuple[int, ...] = ()
    row_bytes: int = 0
    memory_bytes: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Order:
    """What a trial's process is to load.

    Attributes:
        model: A name in the configuration, or a path.
        config: The configuration file; None for what the environment says.
        server: Settings of the server to change.
        fields: Settings of the model to change.
    """

    model: str
    config: str | None
    server: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)


class Trial(Protocol):
    """What runs batches with one variant of the settings."""

    loaded: Loaded

    def durations_s(self, rows: int, seconds: float) -> list[float]:
        """Run batches of some rows for about so many seconds, one at least; return what each took.

        Raises:
            ModelLoadError: It failed with so many rows, or its process ended.
        """
        ...

    def close(self) -> None:
        """End it."""
        ...


class TrialProcess:
    """A trial in a process of its own.

    Args:
        model: A name in the configuration, or a path.
        config: The configuration file; None for what the environment says.
        variant: What is different.

    Raises:
        ModelLoadError: The model can't be served like that, or the process ended.
        ConfigError: A setting is wrong.
    """

    def __init__(self, model: str, config: str | None, variant: Variant) -> None:
        self._variant = variant
        # The process ends when this pipe does, whatever becomes of this one.
        self._process = subprocess.Popen(
            _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            order = Order(model, config, dict(variant.server), dict(variant.model))
            answer = self._ask(asdict(order))
            self.loaded = Loaded(**{**answer, "sizes": tuple(answer["sizes"]), "notes": tuple(answer["notes"])})
        except BaseException:
            self.close()
            raise

    def durations_s(self, rows: int, seconds: float) -> list[float]:
        """Run batches; see `Trial.durations_s`."""
        durations: list[float] = self._ask({"rows": rows, "seconds": seconds}, seconds=seconds)["durations_s"]
        return durations

    def close(self) -> None:
        """End the process, in the middle of a run too."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.wait(_LEAVE_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()

    def _ask(self, question: dict[str, Any], *, seconds: float = 0.0) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            # An answer is one line, and there is one for each question: nothing of it is in a buffer here.
            if not multiprocessing.connection.wait([self._process.stdout.fileno()], seconds + _MOST_S):
                self._process.kill()
                text = f"the process that tried the model ({self._variant}) said nothing for {_MOST_S:.0f} s"
                raise ModelLoadError(text)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise ModelLoadError(self._ended())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            kind = ConfigError if answer["is_config"] else ModelLoadError
            raise kind(answer["error"])
        return answer

    def _ended(self) -> str:
        code = self._process.wait(_END_S)
        why = f"exit code {code}"
        if code == -signal.SIGKILL:
            why = "it was killed, as the system does when memory runs out"
        elif code < 0:
            why = f"{signal.Signals(-code).name}"
        return f"the process that tried the model ({self._variant}) ended: {why}"


Start = Callable[[Variant], Trial]
