"""For comparison: the same task in a worker whose four children each have TensorFlow and the model.

Owns starting that worker, measuring it and ending it. Main thread.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import psutil
from celery import Celery
from celery.result import AsyncResult

from benchmarks.processes.memory import Memory, child_pids, memory_of
from examples.digits import MODEL_FILE
from examples.digits.processes import queue_of, start_worker, tensorflow_environ, wait_for_task
from examples.digits.progress import Steps
from examples.digits.scoring import ANSWER_TIMEOUT_S, HeldOut, Timing
from examples.digits.stage import Stage

NAME = "tensorflow-worker"
RECOGNISE = "examples.digits.tensorflow_tasks.recognise"
#: `model.predict` takes a tenth of a second or more: enough for a figure, few enough to wait for.
TASKS = 24
#: Four children with TensorFlow take a third of it; starving a small machine proves nothing.
NEEDED_BYTES = 4 << 30


@dataclass(frozen=True, slots=True)
class Comparison:
    """What that worker costs and how fast it is; empty where there was too little memory to try.

    Attributes:
        memory: By part of it.
        timings: By what was asked.
    """

    memory: dict[str, Memory] = field(default_factory=dict)
    timings: dict[str, Timing] = field(default_factory=dict)


def start(stage: Stage, children: int) -> int | None:
    """Start the worker; return its process id, or None where the machine has too little memory for it."""
    if psutil.virtual_memory().available < NEEDED_BYTES:
        return None
    environ = tensorflow_environ(stage.path / MODEL_FILE)
    module = "examples.digits.tensorflow_tasks"
    return start_worker(stage, NAME, module, children=children, environ=environ)


def measure(
    steps: Steps, stage: Stage, app: Celery, held_out: HeldOut, *, worker: int | None, children: int
) -> Comparison:
    """Return what the worker takes once each of its children has answered, and end it."""
    if worker is None:
        return Comparison()
    doing = f"for comparison: TensorFlow in each of {children} children"
    with steps.step(doing, f"for comparison, TensorFlow and the model in each of {children} children", TASKS) as step:
        _wake_all(stage, app, held_out, children)
        started_s = time.perf_counter()
        pending = [_ask(stage, app, held_out, number) for number in range(TASKS)]
        each_ms = []
        for result in pending:
            each_ms.append(result.get(timeout=ANSWER_TIMEOUT_S)[1])
            step.advance()
        timing = Timing(tasks=TASKS, elapsed_s=time.perf_counter() - started_s, each_ms=each_ms)
        memory = {
            " the worker's parent": memory_of([worker]),
            f" its {children} children": memory_of(child_pids(worker)),
        }
        stage.stop(NAME)
    return Comparison(memory, {f" model.predict() in each of {children} children": timing})


def _wake_all(stage: Stage, app: Celery, held_out: HeldOut, children: int) -> None:
    """Ask until every child has answered: a child that never worked has loaded nothing yet."""
    awake: set[int] = set()
    while len(awake) < children:
        pending = [_ask(stage, app, held_out, number) for number in range(children)]
        awake.update(wait_for_task(stage, NAME, result)[2] for result in pending)


def _ask(stage: Stage, app: Celery, held_out: HeldOut, number: int) -> AsyncResult:
    return app.send_task(RECOGNISE, (held_out.images[number],), queue=queue_of(stage, NAME))
