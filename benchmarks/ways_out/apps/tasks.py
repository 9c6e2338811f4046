"""The tasks that every way has, around whatever gives it a model.

Owns the tasks' names and what they do. Where the model is, and when it is loaded, is each app's own. Runs in whichever
process or thread the pool runs tasks in.
"""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from celery import Celery

PREDICT, CALL, WAKE, OVERRUN, PAUSE, CRASH = (
    f"ways.{name}" for name in ("predict", "call", "wake", "overrun", "pause", "crash")
)
#: Asking a model has these two words in Keras; the second is what it recommends for small inputs.
WORDS: dict[str, Callable[[Any, Any], Any]] = {
    PREDICT: lambda model, rows: model.predict(rows, verbose=0),
    CALL: lambda model, rows: model(rows),
}
#: So long a child is busy once it is awake, that others get the tasks beside it.
WAKE_S = 0.5
SOFT_LIMIT_S, HARD_LIMIT_S = 2, 5
#: A task that no limit ends.
OVERRUN_S = 10.0
#: Tasks of other people are under way while the model's process crashes, until a file is there; so long at most.
PAUSE_MOST_S, PAUSE_POLL_S = 120.0, 0.05


def new_app() -> Celery:
    """Return an app that is configured as Celery itself has it."""
    url = os.environ["WAYS_BROKER_URL"]
    app = Celery("ways", broker=url, backend=url)
    app.conf.broker_connection_retry_on_startup = True
    # So that somebody can wait until a task has begun.
    app.conf.task_track_started = True
    return app


def scores(model: Any, task: str, rows: list[list[float]]) -> list[list[float]]:
    """Return a model's answer as JSON has it."""
    answer: list[list[float]] = np.asarray(WORDS[task](model, np.array(rows, np.float32))).tolist()
    return answer


def overrun(model: Any, rows: list[list[float]]) -> str:
    """Predict for much longer than the limits allow; whatever ends it early is an exception, or a kill."""
    end_s = time.monotonic() + OVERRUN_S
    while time.monotonic() < end_s:
        scores(model, PREDICT, rows)
    return "nobody"


def add_tasks(app: Celery, model: Callable[[], Any], *, are_asking: bool = True) -> None:
    """Give an app its tasks.

    Args:
        app: The app.
        model: Returns the model of the process, or the thread, that asks.
        are_asking: Whether those that ask are among them.
    """
    for name in WORDS if are_asking else ():
        _add_asking(app, model, name)
    if are_asking:

        @app.task(name=OVERRUN, soft_time_limit=SOFT_LIMIT_S, time_limit=HARD_LIMIT_S)
        def run_over(rows: list[list[float]]) -> str:
            return overrun(model(), rows)

    @app.task(name=WAKE)
    def wake(rows: list[list[float]], words: list[str]) -> int:
        # A process's first call of either word makes what the others use.
        for word in words:
            scores(model(), word, rows)
        time.sleep(WAKE_S)
        return os.getpid()

    @app.task(name=PAUSE)
    def pause(until_file: str) -> str:
        end_s = time.monotonic() + PAUSE_MOST_S
        while not os.path.exists(until_file) and time.monotonic() < end_s:
            time.sleep(PAUSE_POLL_S)
        return "done"

    @app.task(name=CRASH)
    def crash() -> None:
        os.kill(os.getpid(), signal.SIGSEGV)


def _add_asking(app: Celery, model: Callable[[], Any], name: str) -> None:
    @app.task(name=name)
    def ask(rows: list[list[float]]) -> list[list[float]]:
        return scores(model(), name, rows)
