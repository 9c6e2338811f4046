"""What a worker with 8 children and the daemon take, beside a script with the model and a bare worker with 8 children.

Owns the two sides, one after the other: processes that map the same libraries share their pages, so that each would
make the other one look smaller. Part of section memory.

The workers' parents count on both sides: what children share with theirs is split among all of them, so that without
the parent the more a child shares the less of it would be seen.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from celery import Celery

from benchmarks.limits.holding_process import ask_as_often
from benchmarks.loads import task_crowd
from benchmarks.loads.bare_tasks import WAKE
from benchmarks.processes.celery_worker import prefork_worker, redis_server
from benchmarks.processes.daemon import daemon
from benchmarks.processes.memory import MIB, child_pids, memory_of
from benchmarks.processes.running import conversation
from benchmarks.report.figures import Figure
from benchmarks.report.found import ProcessRow, median
from benchmarks.sections.measured import ratios
from benchmarks.workloads import A
from predictd_celery.config import QUEUE

CHILDREN = 8
AWAKE_S = 60.0
OURS, BARE = "ours", "bare"


def measured(file: Path, rounds: int, children: int = CHILDREN) -> tuple[Figure, list[ProcessRow]]:
    """Compare them.

    Args:
        file: The model A.
        rounds: How often.
        children: How many children a worker has.
    """
    found: dict[str, list[float]] = {OURS: [], BARE: []}
    processes: list[ProcessRow] = []
    for number in range(rounds):
        processes = []
        for side in (OURS, BARE) if number % 2 == 0 else (BARE, OURS):
            with _running(side, file, children) as pids:
                memory = {what: memory_of(ids) for what, ids in pids.items()}
            found[side].append(sum(part.pss_bytes for part in memory.values()) / MIB)
            processes += [
                ProcessRow(what, part.rss_bytes / MIB, part.pss_bytes / MIB, part.uss_bytes / MIB)
                for what, part in memory.items()
            ]
    ours, bare = found[OURS], found[BARE]
    figure = Figure(
        f"a worker with {children} children that have asked, and the daemon: memory / a script with the model and as "
        "large a bare worker",
        ratios(tuple(ours), tuple(bare)),
        goal="<= 1.05",
        beside=f"ours {median(ours):,.0f} MiB, the others {median(bare):,.0f} MiB (each shared page counted once)",
    )
    return figure, processes


@contextlib.contextmanager
def _running(side: str, file: Path, children: int) -> Iterator[dict[str, list[int]]]:
    """Run one side, each child having worked; gives its processes."""
    directory = file.parent
    with contextlib.ExitStack() as stack:
        broker_url = stack.enter_context(redis_server(directory))
        endpoint, app = "ipc:///dev/null", "benchmarks.loads.bare_tasks"
        if side == OURS:
            served = stack.enter_context(daemon(directory, [file]))
            # As the script has predicted; the children ask for a row each beside that.
            ask_as_often(served.endpoint, A)
            endpoint, app = served.endpoint, "benchmarks.loads.celery_tasks"
            model = {f"memory: daemon beside {children} children": [served.pid]}
        else:
            script = stack.enter_context(
                conversation("benchmarks.limits.holding_process", file, A.name, stderr=subprocess.DEVNULL)
            )
            model = {f"memory: script beside {children} bare children": [script.pid]}
        worker = stack.enter_context(prefork_worker(directory, broker_url, endpoint, children=children, app=app))
        awake = _awake(broker_url, worker, children)
        yield {
            **model,
            f"memory: worker's parent, {side}": [worker],
            f"memory: {children} children, {side}, together": awake,
        }


def _awake(broker_url: str, worker: int, children: int) -> list[int]:
    """Return a worker's children once each of them has worked."""
    app = Celery("waking", broker=broker_url, backend=broker_url, set_as_current=False)
    app.conf.task_default_queue = QUEUE
    question, end_s = (A.name, A.row().tolist()), time.monotonic() + AWAKE_S
    awake: set[int] = set()
    try:
        while len(awake) < children:
            if time.monotonic() > end_s:
                text = f"{len(awake)} of {children} children have worked after {AWAKE_S:.0f} s"
                raise RuntimeError(text)
            pending = [app.send_task(WAKE, question) for _ in range(children)]
            awake.update(result.get(timeout=AWAKE_S) for result in pending)
            pending.clear()
    finally:
        task_crowd.close(app)
    return [pid for pid in child_pids(worker) if pid in awake]
