"""Section memory: the daemon against a script with the same model, and a prefork child against a bare one."""

from __future__ import annotations

import subprocess

import predictd
from benchmarks import workloads
from benchmarks.processes.celery_children import idle_child_mib
from benchmarks.processes.daemon import daemon
from benchmarks.processes.memory import MIB, memory_of
from benchmarks.processes.running import conversation
from benchmarks.report.figures import Figure
from benchmarks.report.found import Found, ProcessRow, median, process_rows
from benchmarks.sections.measured import ratios
from benchmarks.sections.stage import Run, model_file, models_made
from benchmarks.workloads import Workload

#: Each start takes seconds, and what a process takes differs little from one to the next.
MOST_ROUNDS = 2
CALLS = 200


def memory(run: Run) -> Found:
    """Memory of the daemon against a script that holds the same model; of an idle prefork child."""
    found = Found()
    for workload, name in ((workloads.A, "A"), (workloads.D, "D")):
        figure, processes = _served(workload, name, run)
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
    ours: list[float] = []
    script: list[float] = []
    processes: list[ProcessRow] = []
    with models_made([workload], run) as directory:
        file = model_file(directory, workload)
        for number in range(min(run.rounds, MOST_ROUNDS)):
            run.say(f"{name}: round {number + 1}")
            with daemon(directory, [file]) as served, predictd.Client(served.endpoint) as client:
                for _ in range(CALLS):
                    client.predict(workload.name, workload.row())
                with conversation(
                    "benchmarks.limits.holding_process", file, workload.name, stderr=subprocess.DEVNULL
                ) as holding:
                    ours.append(memory_of([served.pid]).rss_bytes / MIB)
                    script.append(memory_of([holding.pid]).rss_bytes / MIB)
                    processes = process_rows(
                        [(f"memory: daemon with {name}", served.pid), (f"memory: script with {name}", holding.pid)]
                    )
    figure = Figure(
        f"{name}: memory of the server / of a script that holds the model",
        ratios(tuple(ours), tuple(script)),
        goal="<= 1.1",
        beside=f"ours {median(ours):,.0f} MiB, script {median(script):,.0f} MiB",
    )
    return figure, processes
