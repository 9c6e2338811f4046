"""Section celery: A through a prefork worker and Redis, against a task of the same worker that answers at once."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np

from benchmarks import workloads
from benchmarks.loads.celery_tasks import ANSWER
from benchmarks.loads.load import Load
from benchmarks.processes.celery_worker import CHILDREN, prefork_worker, redis_server
from benchmarks.processes.cpu import cpu_s
from benchmarks.processes.daemon import Daemon, clean_environment, daemon
from benchmarks.processes.memory import child_pids
from benchmarks.processes.running import Conversation, conversation
from benchmarks.report.figures import Figure
from benchmarks.report.found import Found, load_row, median, process_rows
from benchmarks.sections.measured import ratios
from benchmarks.sections.stage import Run, model_file, models_made

PREDICT = "predictd.predict"
#: Tasks under way at once.
CROWDS = (1, 64)
WORDS = {ANSWER: "a task that answers at once", PREDICT: "the task predictd.predict"}


def celery(run: Run) -> Found:
    """A through a prefork Celery worker with two children and Redis."""
    with models_made([workloads.A], run) as directory:
        run.say("starting the daemon")
        with daemon(directory, [model_file(directory, workloads.A)]) as served:
            return celery_on(directory, served, run)


def celery_on(directory: Path, served: Daemon, run: Run) -> Found:
    """Measure where a daemon runs already."""
    with contextlib.ExitStack() as stack:
        run.say("starting Redis and the worker")
        try:
            broker_url = stack.enter_context(redis_server(directory))
        except RuntimeError as error:
            return Found([Figure("celery: needs a Redis server", (), beside=str(error).splitlines()[-1])])
        worker = stack.enter_context(prefork_worker(directory, broker_url, served.endpoint))
        environment = clean_environment(PREDICTD_BROKER_URL=broker_url)
        caller = stack.enter_context(conversation("benchmarks.loads.celery_process", env=environment))
        turns = [(task, crowd) for crowd in CROWDS for task in (ANSWER, PREDICT)]
        loads: dict[tuple[str, int], list[Load]] = {turn: [] for turn in turns}
        # Uncounted: the pool's children import what they need with their first tasks.
        for turn in turns:
            _turn(caller, served, *turn, run.seconds / 4)
        for number in run.numbers():
            for turn in turns if number % 2 == 0 else turns[::-1]:
                loads[turn].append(_turn(caller, served, *turn, run.seconds))
        pids = [("celery: worker's parent", worker)]
        pids += [(f"celery: worker's child {number + 1}", pid) for number, pid in enumerate(_pool(worker))]
        processes = process_rows([("celery: daemon", served.pid), *pids, ("celery: who enqueues", caller.pid)])
    rows = [load_row("celery: A", str(crowd), WORDS[task], found) for (task, crowd), found in loads.items()]
    return Found(_figures(loads), rows, [], processes)


def _pool(worker: int) -> list[int]:
    # The parent has a resource tracker too on some versions: the pool's children are the oldest.
    return sorted(child_pids(worker))[:CHILDREN]


def _turn(caller: Conversation, served: Daemon, task: str, in_flight: int, seconds: float) -> Load:
    used_s = cpu_s(served.pid)
    told = caller.ask({"task": task, "in_flight": in_flight, "seconds": seconds}, seconds)
    used_s, took = cpu_s(served.pid) - used_s, np.array(told["took"])
    return Load(
        per_second=float(told["per_second"]),
        p50_us=float(np.percentile(took, 50)) * 1e6,
        p99_us=float(np.percentile(took, 99)) * 1e6,
        client_cpu_us=float(told["cpu_s"]) * 1e6 / len(took),
        server_cpu_us=used_s * 1e6 / len(took),
    )


def _figures(loads: dict[tuple[str, int], list[Load]]) -> list[Figure]:
    lone, many = CROWDS
    ours, bare = ([load.p50_us for load in loads[task, lone]] for task in (PREDICT, ANSWER))
    rate, limit = (tuple(load.per_second for load in loads[task, many]) for task in (PREDICT, ANSWER))
    return [
        Figure(
            "celery, 1 task at a time: p50 / a task that answers at once",
            ratios(tuple(ours), tuple(bare)),
            beside=f"ours {median(ours) / 1000:.2f} ms, the other {median(bare) / 1000:.2f} ms",
        ),
        Figure(
            f"celery, {many} tasks under way: throughput / tasks that answer at once",
            ratios(rate, limit),
            beside=f"ours {median(rate):,.0f}/s, the others {median(limit):,.0f}/s",
        ),
    ]
