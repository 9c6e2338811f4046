"""The processes that one section measures: a daemon, the model in a process of its own, a bare echo, the callers.

Owns starting all of them, once for all rounds, and how many rounds there are of how many seconds. Main thread.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.loads.calls import FRAMES
from benchmarks.loads.load import Crew, Target, crew
from benchmarks.processes.daemon import Daemon, daemon
from benchmarks.processes.running import Conversation, conversation
from benchmarks.workloads import Workload

#: Batches that the model's own limits are measured at.
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True)
class Run:
    """How a section measures.

    Attributes:
        rounds: How many times each figure is taken; medians are shown.
        seconds: How long each turn lasts, unless a workload needs longer ones.
        say: Is told how far it is.
        most_callers: No load has more.
        batches: Batches that the limits are measured at.
        fewest_calls: Each turn of a limit has so many calls at least: a median of two is the slower one.
        fewest_answers: The window of a percentile that has a goal is so long that it has so many.
        lone_callers: How many callers have a process each, where there are such.
        loads_a_round: How often a file is loaded anew in a round of section reload.
        imports_a_round: How many imports a round of section imports times.
        many_rows: Rows of the call that asks for very many at once.
    """

    rounds: int = 5
    seconds: float = 0.8
    say: Callable[[str], None] = lambda text: None
    most_callers: int = 256
    batches: tuple[int, ...] = BATCHES
    fewest_calls: int = 9
    fewest_answers: int = 1000
    lone_callers: int = 8
    loads_a_round: int = 10
    imports_a_round: int = 3
    many_rows: int = 1_000_000

    def numbers(self) -> Iterator[int]:
        """Count the rounds, saying so."""
        for number in range(self.rounds):
            self.say(f"round {number + 1} of {self.rounds}")
            yield number


@dataclass(frozen=True)
class Stage:
    """What is there to be measured.

    Attributes:
        directory: Where sockets, logs and model files are.
        served: The daemon.
        echo: The bare echo.
        crew: The callers.
        models: The same models in a process of their own.
        lone_callers: Callers each in a process of its own, as prefork children are; None where nobody asks for them.
    """

    directory: Path
    served: Daemon
    echo: Daemon
    crew: Crew
    models: Conversation
    lone_callers: Crew | None = None

    def target(self, kind: str, workload: Workload) -> Target:
        """Return the daemon as a target."""
        return Target(kind, self.served.endpoint, self.served.pid, workload.name)

    def echoed(self, workload: Workload) -> Target:
        """Return the echo as a target, which gets the same frames."""
        return Target(FRAMES, self.echo.endpoint, self.echo.pid, workload.name)

    def file(self, workload: Workload) -> Path:
        """Return a model's file."""
        return model_file(self.directory, workload)


def model_file(directory: Path, workload: Workload) -> Path:
    """Return where a model's file is."""
    return directory / f"{workload.name}.keras"


@contextlib.contextmanager
def models_made(workloads: Sequence[Workload], run: Run) -> Iterator[Path]:
    """Make models in a new directory, which goes with the block; gives the directory."""
    with _directory() as name:
        run.say("making the models")
        command = [sys.executable, "-m", "benchmarks.make_models", name, *(workload.name for workload in workloads)]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        yield Path(name)


def _directory() -> tempfile.TemporaryDirectory[str]:
    # Directly in /tmp: a socket's path is short.
    return tempfile.TemporaryDirectory(prefix="pdb-", dir="/tmp")


@contextlib.contextmanager
def stage(
    workloads: Sequence[Workload],
    run: Run,
    *options: str,
    local: Sequence[Workload] | None = None,
    lone_callers: bool = False,
) -> Iterator[Stage]:
    """Start everything for some workloads.

    Args:
        workloads: One daemon serves all of them.
        run: Is told how far it is.
        options: More options of `predictd serve`.
        local: Those that are run in process as well; None for all.
        lone_callers: Whether there are callers with a process each.
    """
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(_directory()))
        run.say("making the models, and loading them in a process of their own")
        held = ",".join(workload.name for workload in (workloads if local is None else local))
        names = [workload.name for workload in workloads]
        models = stack.enter_context(
            conversation("benchmarks.limits.model_process", directory, held, *names, stderr=subprocess.DEVNULL)
        )
        files = [model_file(directory, workload) for workload in workloads]
        run.say("starting the daemon")
        served = stack.enter_context(daemon(directory, files, *options))
        endpoint = f"ipc://{directory}/echo.sock"
        echo = stack.enter_context(conversation("benchmarks.limits.echo_process", endpoint))
        lone = stack.enter_context(crew(run.lone_callers)) if lone_callers else None
        yield Stage(directory, served, Daemon(endpoint, echo.pid), stack.enter_context(crew()), models, lone)
