"""Section celery: A through a prefork worker and Redis, against tasks of the same worker that ask nobody.

An empty task has no arguments and no answer; another one has the model's. What is above the first is what a model costs
that is asked through Celery, what is above the second the part of it that isn't JSON.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np

from benchmarks import workloads
from benchmarks.loads.calls import CLIENT
from benchmarks.loads.celery_tasks import ANSWER, NOTHING
from benchmarks.loads.load import Load, Target, crew
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
WORDS = {
    NOTHING: "an empty task",
    ANSWER: "a task that answers at once, with the model's arguments and answer",
    PREDICT: "the task predictd.predict",
}
#: No task: one caller of the client's, in a process of its own.
DIRECT = "Client.predict, without Celery"


def celery(run: Run) -> Found:
    """A through a prefork Celery worker with four children and Redis."""
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
        direct = stack.enter_context(crew(1))
        target = Target(CLIENT, served.endpoint, served.pid, workloads.A.name)

        def take(task: str, crowd: int, seconds: float) -> Load:
            if task == DIRECT:
                return direct.measure(target, crowd, seconds)
            return _turn(caller, served, task, crowd, seconds)

        turns = [(DIRECT, CROWDS[0]), *((task, crowd) for crowd in CROWDS for task in WORDS)]
        loads: dict[tuple[str, int], list[Load]] = {turn: [] for turn in turns}
        # Uncounted: the pool's children import what they need with their first tasks.
        for turn in turns:
            take(*turn, run.seconds / 4)
        for number in run.numbers():
            for turn in turns if number % 2 == 0 else turns[::-1]:
                loads[turn].append(take(*turn, run.seconds))
        pids = [("celery: worker's parent", worker)]
        pids += [(f"celery: worker's child {number + 1}", pid) for number, pid in enumerate(_pool(worker))]
        processes = process_rows([("celery: daemon", served.pid), *pids, ("celery: who enqueues", caller.pid)])
    rows = [load_row("celery: A", str(crowd), WORDS.get(task, task), found) for (task, crowd), found in loads.items()]
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
    empty, answer, ours = ([load.p50_us / 1000 for load in loads[task, lone]] for task in WORDS)
    direct = [load.p50_us / 1000 for load in loads[DIRECT, lone]]
    above = tuple(one - floor for one, floor in zip(ours, empty, strict=True))
    rates = {task: tuple(load.per_second for load in loads[task, many]) for task in WORDS}
    return [
        Figure(
            "celery, 1 task at a time: p50 above an empty task's, less the p50 of a direct predict",
            tuple(one - floor for one, floor in zip(above, direct, strict=True)),
            unit="ms",
            goal="<= 1",
            beside=f"ours {median(ours):.2f} ms, an empty task {median(empty):.2f} ms, "
            f"Client.predict {median(direct):.2f} ms",
        ),
        Figure(
            "celery, 1 task at a time: p50 above that of a task with the same arguments and answer",
            tuple(one - floor for one, floor in zip(ours, answer, strict=True)),
            unit="ms",
            beside=f"ours {median(ours):.2f} ms, the other {median(answer):.2f} ms",
        ),
        *(
            Figure(
                f"celery, {many} tasks under way, {CHILDREN} children: throughput / {what}",
                ratios(rates[PREDICT], rates[task]),
                goal=goal,
                beside=f"ours {median(rates[PREDICT]):,.0f}/s, the others {median(rates[task]):,.0f}/s",
            )
            for task, what, goal in (
                (NOTHING, "an empty task's", ">= 0.8"),
                (ANSWER, "that of a task with the same arguments and answer", ""),
            )
        ),
    ]
