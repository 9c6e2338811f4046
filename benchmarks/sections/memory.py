"""Section memory: the daemon against a script with the same model, and prefork children against bare ones."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import workloads
from benchmarks.limits.holding_process import ask_as_often
from benchmarks.processes.celery_children import idle_child_mib
from benchmarks.processes.daemon import daemon
from benchmarks.processes.memory import MIB, memory_of
from benchmarks.processes.running import conversation
from benchmarks.report.figures import Figure
from benchmarks.report.found import Found, ProcessRow, median, process_rows
from benchmarks.sections import celery_memory
from benchmarks.sections.measured import ratios
from benchmarks.sections.stage import Run, model_file, models_made
from benchmarks.workloads import Workload

#: Each start takes seconds, and what a process takes differs little from one to the next.
MOST_ROUNDS = 2


def memory(run: Run) -> Found:
    """Memory of the daemon against a script that holds the same model; of prefork children against bare ones."""
    found = Found()
    for workload, name in ((workloads.A, "A"), (workloads.D, "D")):
        figure, processes = _served(workload, name, run)
        found.figures.append(figure)
        found.processes.extend(processes)
    with models_made([workloads.A], run) as directory:
        run.say("a worker with 8 children beside the daemon, and a bare one beside a script")
        figure, processes = celery_memory.measured(model_file(directory, workloads.A), min(run.rounds, MOST_ROUNDS))
        found.figures.append(figure)
        found.processes.extend(processes)
    run.say("starting prefork workers")
    pairs = [(idle_child_mib("bare"), idle_child_mib("predictd")) for _ in range(min(run.rounds, MOST_ROUNDS))]
    bare, ours = (median(pair[side] for pair in pairs) for side in (0, 1))
    child = Figure(
        "idle prefork child: memory above a bare Celery child's",
        tuple(mine - floor for floor, mine in pairs),
        unit="MiB",
        goal="<= 12",
        beside=f"ours {ours:.1f} MiB, bare {bare:.1f} MiB (of its own and its share of the shared)",
    )
    found.figures.append(child)
    return found


def _served(workload: Workload, name: str, run: Run) -> tuple[Figure, list[ProcessRow]]:
    """Compare what the kernel counts for each as if it were alone (RSS): both map the same libraries."""
    found: dict[str, list[float]] = {"daemon": [], "script": []}
    processes: list[ProcessRow] = []
    with models_made([workload], run) as directory:
        file = model_file(directory, workload)
        for number in range(min(run.rounds, MOST_ROUNDS)):
            run.say(f"{name}: round {number + 1}")
            processes = []
            for who, holding in _order(number):
                with holding(directory, file, workload) as pid:
                    found[who].append(memory_of([pid]).rss_bytes / MIB)
                    processes += process_rows([(f"memory: {who} with {name}", pid)])
    ours, script = found["daemon"], found["script"]
    figure = Figure(
        f"{name}: memory of the server / of a script that holds the model",
        ratios(tuple(ours), tuple(script)),
        goal="<= 1.1",
        beside=f"ours {median(ours):,.0f} MiB, script {median(script):,.0f} MiB",
    )
    return figure, processes


_Holding = Callable[[Path, Path, Workload], contextlib.AbstractContextManager[int]]


def _order(number: int) -> list[tuple[str, _Holding]]:
    """Return who is started in a round, one after the other has ended; the order alternates."""
    order: list[tuple[str, _Holding]] = [("daemon", _daemon), ("script", _script)]
    return order[::-1] if number % 2 else order


@contextlib.contextmanager
def _daemon(directory: Path, file: Path, workload: Workload) -> Iterator[int]:
    with daemon(directory, [file]) as served:
        ask_as_often(served.endpoint, workload)
        yield served.pid


@contextlib.contextmanager
def _script(directory: Path, file: Path, workload: Workload) -> Iterator[int]:
    with conversation("benchmarks.limits.holding_process", file, workload.name, stderr=subprocess.DEVNULL) as holding:
        yield holding.pid
