"""Whoever enqueues tasks and waits for them: `python -m benchmarks.loads.celery_process`, with PREDICTD_BROKER_URL set.

For each line, `{"task", "in_flight", "seconds"}`, it keeps so many tasks under way and answers with how long each took
from being enqueued to its answer, in seconds, and the rate of answers.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from typing import Any

from benchmarks.workloads import A
from predictd_celery.application import app

ANSWER_TIMEOUT_S = 60.0


def main() -> None:
    """Enqueue whenever told to."""
    pixels = A.row().tolist()

    def enqueue(task: str) -> Any:
        return time.perf_counter(), app.send_task(task, (A.name, pixels))

    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        task, took = asked["task"], []
        waiting = deque(enqueue(task) for _ in range(asked["in_flight"]))
        started, used = time.perf_counter(), time.process_time()
        while waiting:
            begun, result = waiting.popleft()
            result.get(timeout=ANSWER_TIMEOUT_S, interval=0.001)
            now = time.perf_counter()
            took.append(now - begun)
            if now < started + asked["seconds"]:
                waiting.append(enqueue(task))
        used = time.process_time() - used
        told = {"took": took, "per_second": len(took) / (time.perf_counter() - started), "cpu_s": used}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
