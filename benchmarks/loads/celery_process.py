"""Whoever enqueues tasks and waits for them: `python -m benchmarks.loads.celery_process`, with PREDICTD_BROKER_URL set.

For each line, `{"task", "in_flight", "seconds"}`, it keeps so many tasks under way and answers with how long each took
from being enqueued to its answer, in seconds, and the rate of answers.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import Any

from benchmarks.loads import task_crowd
from benchmarks.loads.celery_tasks import NOTHING
from benchmarks.workloads import A
from predictd_celery.application import app

ANSWER_TIMEOUT_S = 60.0


def main() -> None:
    """Enqueue whenever told to."""
    app.loader.import_default_modules()
    question = (A.name, A.row().tolist())
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        task, arguments = asked["task"], () if asked["task"] == NOTHING else question
        enqueue, drain = partial(_enqueue, task, arguments), task_crowd.drain_of(app)
        crowd = task_crowd.ask(enqueue, drain, asked["in_flight"], asked["seconds"], timeout_s=ANSWER_TIMEOUT_S)
        if crowd.failed or crowd.unanswered:
            text = f"{task}: {crowd.unanswered} tasks without an answer, failed ones {dict(crowd.failed)}"
            raise RuntimeError(text)
        told = {"took": crowd.took, "per_second": crowd.per_second, "cpu_s": crowd.cpu_s}
        print(json.dumps(told), flush=True)


def _enqueue(task: str, arguments: tuple[Any, ...], number: int) -> Any:
    return app.tasks[task].delay(*arguments)


if __name__ == "__main__":
    main()
