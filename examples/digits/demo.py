"""`make demo`: train, serve, and ask about every held-out digit through a prefork Celery worker.

Owns the order of events and what is printed. What each process is belongs to `processes.py`, their end to `stage.py`.
Main thread.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass

import numpy as np
from celery import Celery
from rich.console import Console

from benchmarks.processes.memory import MIB, Memory, child_pids, memory_of
from examples.digits import HELD_OUT_FILE, comparison, tables
from examples.digits.failure import failing_politely
from examples.digits.processes import (
    caller,
    queue_of,
    start_predictd,
    start_worker,
    train,
    wait_for_predictd,
    wait_for_task,
)
from examples.digits.progress import Steps
from examples.digits.scoring import (
    NOTHING,
    RECOGNISE,
    WITH_RECEIPT,
    Agreement,
    HeldOut,
    Timing,
    batch_rows,
    compare,
    run_at_once,
    run_one_by_one,
)
from examples.digits.stage import Stage
from examples.digits.versions import installed

CHILDREN = 4
EPOCHS = 15
ONE_BY_ONE = 200
WORKER = "worker"


@dataclass(frozen=True, slots=True)
class Scores:
    """What came of asking about every digit."""

    agreement: Agreement
    timings: dict[str, Timing]
    batches: Counter[int]


def main() -> int | str | None:
    """Run the demo; return the exit code."""
    console = Console(highlight=False)
    with Stage() as stage, failing_politely(console, stage) as outcome:
        console.print("\n[bold]predictd[/]: one process owns the model, Celery's prefork children ask it.\n")
        console.print(' [red]- model = keras.models.load_model("digits.keras")[/]')
        console.print(' [green]+ model = predictd.RemoteModel("digits")[/]\n')
        _play(console, stage)
    return outcome.exit_code


def _play(console: Console, stage: Stage) -> None:
    steps = Steps(console)
    app = caller(stage.start_broker())
    with steps.step("training a small CNN", f"a small CNN trained on 899 digits ({installed()})", EPOCHS) as step:
        train(stage, step.reach)
    held_out = HeldOut.load(stage.path / HELD_OUT_FILE)

    daemon = start_predictd(stage)
    # At the same time: importing TensorFlow keeps one core busy, and there are two or more.
    rival = comparison.start(stage, CHILDREN)
    with steps.step("starting predictd", "predictd, which owns it") as step:
        model = wait_for_predictd(stage).models[0]
        step.done += f" ({model.parameters or 0:,} weights, batches of up to {max(model.batch_sizes)} rows)"
    theirs = comparison.measure(steps, stage, app, held_out, worker=rival, children=CHILDREN)

    worker = _start_worker(steps, stage, app, held_out)
    scores = _ask_about_all(steps, app, queue_of(stage, WORKER), held_out)
    ours = {
        " the daemon": memory_of([daemon]),
        " the worker's parent": memory_of([worker]),
        f" its {CHILDREN} children": memory_of(child_pids(worker)),
    }
    _show(console, scores, ours, theirs)


def _start_worker(steps: Steps, stage: Stage, app: Celery, held_out: HeldOut) -> int:
    with steps.step("starting a Celery worker", f"a prefork worker with {CHILDREN} children and no TensorFlow"):
        more = ("-I", "examples.digits.measured_tasks")
        worker = start_worker(stage, WORKER, "examples.digits.tasks", *more, children=CHILDREN)
        queue = queue_of(stage, WORKER)
        for result in [app.send_task(RECOGNISE, (image,), queue=queue) for image in held_out.images[:8]]:
            wait_for_task(stage, WORKER, result)
    return worker


def _ask_about_all(steps: Steps, app: Celery, queue: str, held_out: HeldOut) -> Scores:
    images, total = held_out.images, len(held_out.images)
    with steps.step("asking about every digit", f"{total} digits it never saw, a Celery task for each", total) as step:
        answers, elapsed_s = run_at_once(app, WITH_RECEIPT, images, queue, step.advance)
    with steps.step("the same with an empty task", f"{total} empty tasks, to compare with", total) as step:
        _, empty_s = run_at_once(app, NOTHING, images, queue, step.advance)
    with steps.step("one at a time", f"{ONE_BY_ONE} digits, one after the other", ONE_BY_ONE) as step:
        _, one_by_one = run_one_by_one(app, RECOGNISE, images[:ONE_BY_ONE], queue, step.advance)
    predict_ms = [answer["predict_ms"] for answer in answers]
    timings = {
        f" {total} tasks at once, {CHILDREN} children": Timing(tasks=total, elapsed_s=elapsed_s),
        "   predict() inside them": Timing(tasks=total, elapsed_s=0, each_ms=predict_ms),
        "   the same with an empty task": Timing(tasks=total, elapsed_s=empty_s),
        " one at a time, from delay() to get()": one_by_one,
    }
    scores = np.array([answer["scores"] for answer in answers])
    return Scores(compare(scores, held_out), timings, batch_rows(answers))


def _show(console: Console, scores: Scores, ours: dict[str, Memory], theirs: comparison.Comparison) -> None:
    console.print()
    console.print(tables.answers(scores.agreement))
    console.print(tables.speed({**scores.timings, **theirs.timings}))
    console.print(tables.batches(scores.batches))
    console.print(tables.memory(ours, theirs.memory))
    console.print(_in_short(scores, ours, theirs))
    console.print(" [bold]What to try next[/]")
    console.print("   make demo-hang                      without predictd, on this very machine")
    console.print("   .venv/bin/predictd serve my.keras   your own model; then, from any process,")
    console.print('                                       predictd.RemoteModel("my").predict(x)\n')


def _in_short(scores: Scores, ours: dict[str, Memory], theirs: comparison.Comparison) -> str:
    if not theirs.memory:
        return " Too little memory is free to start four children with TensorFlow for comparison.\n"
    rates = [next(iter(timings.values())).per_second for timings in (scores.timings, theirs.timings)]
    sizes = [tables.total(way).pss_bytes / MIB for way in (ours, theirs.memory)]
    return (
        f" [green]In short: {rates[0]:,.0f} tasks/s instead of {rates[1]:,.0f}, and {sizes[0]:,.0f} MiB"
        f" instead of {sizes[1]:,.0f}.[/]\n"
    )


if __name__ == "__main__":
    sys.exit(main())
