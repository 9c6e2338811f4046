"""Section idle: what a daemon and its clients use of a processor while nobody asks for anything."""

from __future__ import annotations

import contextlib
import time

from benchmarks import workloads
from benchmarks.loads.idle_process import KINDS
from benchmarks.processes.cpu import cpu_s
from benchmarks.processes.daemon import Daemon, daemon
from benchmarks.processes.running import conversation
from benchmarks.report.figures import Figure
from benchmarks.report.found import Found, process_rows
from benchmarks.sections.stage import Run, model_file, models_made

#: A window; wake-ups once a second have to be in it.
TURN = 5.0
GOAL = "<= 0.5"


def idle(run: Run) -> Found:
    """Processor time of a daemon and of each kind of client that has been used and now waits."""
    with models_made([workloads.A], run) as directory:
        run.say("starting the daemon")
        with daemon(directory, [model_file(directory, workloads.A)]) as served:
            return idle_on(served, run)


def idle_on(served: Daemon, run: Run) -> Found:
    """Measure where a daemon runs already."""
    with contextlib.ExitStack() as stack:
        run.say("starting the clients")
        pids = {"the daemon": served.pid}
        for kind, words in KINDS.items():
            client = stack.enter_context(conversation("benchmarks.loads.idle_process", served.endpoint, kind))
            pids[words] = client.pid
        # What they did last is not idle.
        time.sleep(run.seconds)
        shares: dict[str, list[float]] = {name: [] for name in pids}
        for _ in run.numbers():
            used = {name: cpu_s(pid) for name, pid in pids.items()}
            began = time.perf_counter()
            time.sleep(run.seconds * TURN)
            took = time.perf_counter() - began
            for name, pid in pids.items():
                shares[name].append((cpu_s(pid) - used[name]) / took * 100)
        processes = process_rows([(f"idle: {name}", pid) for name, pid in pids.items()])
    figures = [
        Figure(f"idle, {name}: share of a core", tuple(found), unit="%", goal=GOAL) for name, found in shares.items()
    ]
    return Found(figures, processes=processes)
