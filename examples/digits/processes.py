"""The processes of the demos: training, predictd, and Celery workers with this or that behind them.

Owns their command lines and when they count as ready. It asks about no digits and prints nothing. Main thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from celery import Celery
from celery.result import AsyncResult

import predictd
from examples.digits import MODEL_FILE
from examples.digits.stage import Stage
from predictd_proto.errors import PredictdError
from predictd_proto.status import ServerStatus

TRAINING_TIMEOUT_S = 120
READY_TIMEOUT_S = 60
_EPOCH = re.compile(r"epoch (\d+) of \d+")


def train(stage: Stage, on_epoch: Callable[[int], None], module: str = "examples.digits.train") -> None:
    """Train the network in a process of its own; its files are in the stage's directory afterwards.

    Args:
        stage: Where it runs.
        on_epoch: Told how many epochs are done.
        module: What trains it.
    """
    stage.start_python("training", module, str(stage.path))

    def watch() -> None:
        epochs = _EPOCH.findall(stage.log_path("training").read_text(errors="replace"))
        on_epoch(int(epochs[-1]) if epochs else 0)

    stage.wait_for_end("training", timeout_s=TRAINING_TIMEOUT_S, watch=watch)


def start_predictd(stage: Stage) -> int:
    """Start the daemon with the trained network; return its process id."""
    return stage.start_python("predictd", "predictd", "serve", str(stage.path / MODEL_FILE)).pid


def wait_for_predictd(stage: Stage) -> ServerStatus:
    """Return the daemon's status once it serves."""
    client = predictd.Client(stage.environ["PREDICTD_ENDPOINT"])

    def ready() -> ServerStatus | None:
        try:
            status = client.status(timeout_ms=1000)
        except PredictdError:
            return None
        return status if status.is_ready else None

    return stage.wait_for("predictd", ready, "ready", timeout_s=READY_TIMEOUT_S)


def start_worker(
    stage: Stage,
    name: str,
    module: str,
    *options: str,
    children: int = 4,
    environ: Mapping[str, str] | None = None,
) -> int:
    """Start a prefork worker on a queue of its own; return its process id.

    Args:
        stage: Where it runs.
        name: The process's name.
        module: The app's module.
        *options: More options of `celery worker`.
        children: How many children it has.
        environ: What to add to the environment.
    """
    arguments = ("celery", "-A", module, "worker", "--pool", "prefork", "--concurrency", str(children))
    quiet = ("--loglevel", "info", "--without-mingle", "--without-gossip", "--without-heartbeat")
    queue = ("-Q", queue_of(stage, name), "-n", f"{name}@%h")
    return stage.start_python(name, *arguments, *quiet, *queue, *options, environ=environ).pid


def wait_for_worker(stage: Stage, name: str) -> None:
    """Wait until a worker takes tasks; it says so in its log."""
    log = stage.log_path(name)
    stage.wait_for(name, lambda: " ready." in log.read_text(errors="replace"), "ready", timeout_s=READY_TIMEOUT_S)


def queue_of(stage: Stage, name: str) -> str:
    """Return a worker's queue: nobody else's, on whatever broker PREDICTD_BROKER_URL names."""
    return f"{stage.path.name}-{name}"


def wait_for_task(stage: Stage, name: str, result: AsyncResult, timeout_s: float = READY_TIMEOUT_S) -> Any:
    """Return a task's answer, or say so as soon as its worker has ended.

    Raises:
        StageError: The worker ended, or no answer came in time.
        Exception: Whatever the task failed with.
    """
    stage.wait_for(name, result.ready, f"done with task {result.id}", timeout_s=timeout_s)
    return result.get()


def caller(broker_url: str) -> Celery:
    """Return an app that enqueues by task name and has no tasks of its own.

    Raises:
        kombu.exceptions.OperationalError: No broker answers there.
    """
    app = Celery("demo", broker=broker_url, backend=broker_url, set_as_current=False)
    with app.connection_for_write() as connection:
        # Now, and not after half a minute of training.
        connection.ensure_connection(max_retries=2, interval_start=0.2)
    return app


def tensorflow_environ(model: Path) -> dict[str, str]:
    """Return what the workers with TensorFlow inside need: the model, and a GPU that is shared where there is one."""
    return {"DIGITS_MODEL": str(model), "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
