"""`make demo-hang`: the disease, and then the same task with predictd.

Owns the cases, the order of events and what is printed. Nothing is assumed: each case is a real prefork worker on the
installed TensorFlow, and the table says what it did. Main thread.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass
from statistics import median
from typing import Any

from celery import Celery
from celery.exceptions import TimeLimitExceeded
from celery.result import AsyncResult
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from examples.digits import HELD_OUT_FILE, MODEL_FILE
from examples.digits.failure import failing_politely
from examples.digits.processes import (
    caller,
    queue_of,
    start_predictd,
    start_worker,
    tensorflow_environ,
    train,
    wait_for_predictd,
    wait_for_worker,
)
from examples.digits.progress import Steps
from examples.digits.scoring import ANSWER_TIMEOUT_S, RECOGNISE, HeldOut
from examples.digits.stacks import where_stuck
from examples.digits.stage import Stage
from examples.digits.versions import installed

EPOCHS = 15
SOFT_LIMIT_S, HARD_LIMIT_S = 4, 8
#: Celery looks at its limits once a second, and killing takes a moment.
GRACE_S = 6
#: What the worker's parent does with the model before it forks.
CASES = {
    "loaded": "model only loaded",
    "called": "model(x) called once",
    "predicted": "model.predict(x) called once",
    "one-thread": "the same, TensorFlow limited to 1 thread",
}
HANGING_RECOGNISE = "examples.digits.hanging_tasks.recognise"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one case.

    Attributes:
        what: What the task did.
        stuck_at: Where the child was after the soft limit, if it was still busy.
    """

    what: Text
    stuck_at: str = ""


def main() -> int | str | None:
    """Run the demo; return the exit code."""
    console = Console(highlight=False)
    with Stage() as stage, failing_politely(console, stage) as outcome:
        console.print("\n[bold]The disease[/]: a Keras model, loaded in a Celery worker's parent\n")
        console.print(' model = keras.models.load_model("digits.keras")     [dim]# at the top of tasks.py[/]')
        console.print(" @app.task")
        console.print(" def recognise(image): return model.predict(image)   [dim]# in a forked child[/]\n")
        _play(console, stage)
    return outcome.exit_code


def _play(console: Console, stage: Stage) -> None:
    steps = Steps(console)
    app = caller(stage.start_broker())
    with steps.step("training a small CNN", f"a small CNN trained on 899 digits ({installed()})", EPOCHS) as step:
        train(stage, step.reach)
    image = HeldOut.load(stage.path / HELD_OUT_FILE).images[0]
    workers = _start_workers(steps, stage)
    # Now, since the hanging ones leave the processor idle.
    start_predictd(stage)
    outcomes = _ask(steps, stage, app, image, workers)
    console.print()
    console.print(_table(outcomes), "")
    _say_where(console, outcomes)
    stage.stop(*CASES)
    _cure(console, steps, stage, app, image)


def _start_workers(steps: Steps, stage: Stage) -> dict[str, int]:
    environ = {**tensorflow_environ(stage.path / MODEL_FILE), "DIGITS_STACKS": str(stage.path)}
    module = "examples.digits.hanging_tasks"
    doing = f"starting {len(CASES)} workers, each with TensorFlow"
    with steps.step(doing, f"{len(CASES)} prefork workers, each with the model in its parent"):
        workers = {
            case: start_worker(stage, case, module, children=1, environ={**environ, "DIGITS_CASE": case})
            for case in CASES
        }
        for case in CASES:
            wait_for_worker(stage, case)
    return workers


def _ask(steps: Steps, stage: Stage, app: Celery, image: Any, workers: dict[str, int]) -> dict[str, Outcome]:
    """Give each worker one task, look at its child after the soft limit, and wait for whatever ends it."""
    limits = {"soft_time_limit": SOFT_LIMIT_S, "time_limit": HARD_LIMIT_S}
    doing = f"one task each; soft limit {SOFT_LIMIT_S} s, hard limit {HARD_LIMIT_S} s"
    with steps.step(doing, f"one task each, {doing.partition('; ')[2]}", HARD_LIMIT_S * 10) as step:
        started_s = time.monotonic()
        pending = {
            case: app.send_task(HANGING_RECOGNISE, (image,), queue=queue_of(stage, case), **limits) for case in CASES
        }
        answered_s: dict[str, float] = {}
        stuck_at: dict[str, str] = {}
        while len(answered_s) < len(pending):
            elapsed_s = time.monotonic() - started_s
            step.reach(int(elapsed_s * 10))
            answered_s.update({c: elapsed_s for c, result in pending.items() if c not in answered_s and result.ready()})
            if elapsed_s > SOFT_LIMIT_S + 1 and not stuck_at:
                stuck_at = {case: where_stuck(stage.path, workers[case]) for case in CASES if case not in answered_s}
            if elapsed_s > HARD_LIMIT_S + GRACE_S:
                break
            time.sleep(0.05)
    return {case: Outcome(_outcome(pending[case], answered_s.get(case)), stuck_at.get(case, "")) for case in CASES}


def _outcome(result: AsyncResult, answered_s: float | None) -> Text:
    if answered_s is None:
        return Text("silence, beyond the hard limit", style="bold red")
    if result.successful():
        return Text(f"answered: {result.get()}, after {answered_s:.1f} s", style="green")
    error = result.result
    if isinstance(error, TimeLimitExceeded):
        return Text(f"silence; killed after {HARD_LIMIT_S} s", style="bold red")
    return Text(f"{type(error).__name__} after {answered_s:.1f} s", style="red")


def _table(outcomes: dict[str, Outcome]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column(" in the parent, before the fork", no_wrap=True)
    table.add_column("model.predict() in the child", no_wrap=True)
    for case, outcome in outcomes.items():
        table.add_row(f" {CASES[case]}", outcome.what)
    return table


def _say_where(console: Console, outcomes: dict[str, Outcome]) -> None:
    places = Counter(outcome.stuck_at for outcome in outcomes.values() if outcome.stuck_at)
    if not places:
        console.print(" None of them hung on this machine.\n")
        return
    console.print(" No error, no line in the log. The soft limit came and went: it is an exception,")
    console.print(" and Python never got to raise it. The hard limit kills the child.\n")
    for place, count in places.items():
        console.print(f" [bold]{count} of {len(outcomes)}[/] are stuck in", Text(f"\n   {place}\n", style="dim"))


def _cure(console: Console, steps: Steps, stage: Stage, app: Celery, image: Any) -> None:
    with steps.step("starting predictd", "predictd, which owns the same model"):
        wait_for_predictd(stage)
    with steps.step("starting a worker", "a prefork worker with predictd.RemoteModel in its parent"):
        start_worker(stage, "worker", "examples.digits.tasks", children=1)
        wait_for_worker(stage, "worker")
    each_ms = [_ask_predictd(stage, app, image)[0] for _ in range(20)]
    digit = _ask_predictd(stage, app, image)[1]
    console.print(
        f"\n [bold green]The same task answers: {digit}[/], in {each_ms[0]:.0f} ms at first, then in"
        f" {median(each_ms[1:]):.0f} ms, delay() to get().\n"
    )


def _ask_predictd(stage: Stage, app: Celery, image: Any) -> tuple[float, int]:
    started_s = time.perf_counter()
    result = app.send_task(RECOGNISE, (image,), queue=queue_of(stage, "worker"), soft_time_limit=SOFT_LIMIT_S)
    # Not by looking again and again: that would be most of what is measured.
    digit = result.get(timeout=ANSWER_TIMEOUT_S)
    return (time.perf_counter() - started_s) * 1000, digit


if __name__ == "__main__":
    sys.exit(main())
