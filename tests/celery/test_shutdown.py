"""What of a worker's queued work is left at the daemon when tasks are terminated and workers shut down: nothing."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from celery.exceptions import SoftTimeLimitExceeded, TaskRevokedError, TimeLimitExceeded

from tests.celery.worker_process import WorkerProcess
from tests.daemon_process import DaemonProcess
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.redis, pytest.mark.tensorflow]

#: The model sleeps for as many seconds as its input is over 100.
LONG = 105.0
SHOP = "tests.celery.shop_tasks"


@contextmanager
def busy(daemon: DaemonProcess) -> Iterator[None]:
    """Keep the daemon's engine busy for five seconds: what comes meanwhile is queued."""
    with daemon.client() as client:
        # A run that takes unexpectedly long: from now on they are on the engine's thread, and the pump sees what comes.
        client.predict("sleeper", np.array([100.05], np.float32))
        before = daemon.status().counters["requests_total"]
        running = client.submit("sleeper", np.array([LONG], np.float32))
        wait_until(lambda: daemon.status().counters["requests_total"] > before, what="the daemon is busy")
        yield
        running.result()


def queued(daemon: DaemonProcess) -> int:
    return daemon.status().queued_requests


def dropped(daemon: DaemonProcess) -> int:
    """Return how many queued requests were never run: by a cancel, or by the end of their connection."""
    counters = daemon.status().counters
    return counters["requests_cancelled_total"] + counters["requests_released_total"]


def ended(worker: WorkerProcess) -> None:
    """Wait for the worker's end; its log goes with a time-out."""
    wait_until(lambda: worker.process.poll() is not None, what=f"the worker ends\n{worker.log}")


def handed_back(worker: WorkerProcess, queue: str) -> int:
    """Return how many tasks the broker has for the next worker."""
    with worker.app.connection() as connection:
        return int(connection.default_channel.client.llen(queue))


def test_a_terminated_task_and_a_cold_shutdown_after_a_warm_one(start_worker, daemon: DaemonProcess) -> None:
    worker: WorkerProcess = start_worker(daemon, children=3)
    before = dropped(daemon)
    with busy(daemon):
        terminated = worker.predict("sleeper", [LONG])
        for _ in range(2):
            # Nobody will ever answer them: a result that waits would outlive the test's Redis.
            worker.predict("sleeper", [LONG], ignore_result=True)
        wait_until(lambda: queued(daemon) == 3, what="three tasks wait at the daemon")
        terminated.revoke(terminate=True)
        wait_until(lambda: dropped(daemon) - before == 1, what="the terminated one is out of the queue")
        # A warm shutdown waits for the running tasks, however often it is asked for...
        worker.signal(signal.SIGTERM)
        worker.wait_for_log("Warm shutdown")
        worker.signal(signal.SIGTERM)
        assert queued(daemon) == 2
        # ... until somebody has no more patience.
        worker.signal(signal.SIGQUIT)
        wait_until(lambda: dropped(daemon) - before == 3, what="all are out of the queue")
        assert queued(daemon) == 0
    ended(worker)
    with pytest.raises(TaskRevokedError):
        terminated.get(timeout=10)
    assert handed_back(worker, "predictd") == 2


def test_a_soft_shutdown_waits_for_what_is_nearly_done_and_drops_the_rest(start_worker, daemon: DaemonProcess) -> None:
    worker = start_worker(daemon, app=SHOP, children=2, SOFT_SHUTDOWN_S="1.5")
    before = dropped(daemon)
    with busy(daemon):
        worker.predict("sleeper", [LONG], ignore_result=True)
        wait_until(lambda: queued(daemon) == 1, what="a task waits at the daemon")
        nearly_done = worker.send(f"{SHOP}.nap", 0.5)
        worker.wait_for_log("napping")
        worker.signal(signal.SIGQUIT)
        worker.wait_for_log("Initiating Soft Shutdown")
        assert queued(daemon) == 1
        wait_until(lambda: dropped(daemon) - before == 1, what="it is out of the queue")
    ended(worker)
    assert nearly_done.get(timeout=10) == "rested"
    assert handed_back(worker, "celery") == 1


def test_soft_and_hard_limits_that_fire_in_the_middle_of_asking(start_worker, daemon: DaemonProcess) -> None:
    worker: WorkerProcess = start_worker(daemon, app=SHOP, children=4)
    tasks = [f"{SHOP}.ask_for_one", f"{SHOP}.ask_for_many"]
    before = dropped(daemon)
    with busy(daemon):
        soft = [worker.send(task, LONG, soft_time_limit=2) for task in tasks]
        hard = [worker.send(task, LONG, time_limit=2) for task in tasks]
        wait_until(lambda: queued(daemon) == 4, what="what all of them ask waits at the daemon")
        for limited, error in (soft, SoftTimeLimitExceeded), (hard, TimeLimitExceeded):
            for result in limited:
                with pytest.raises(error):
                    worker.answer(result)
        wait_until(lambda: dropped(daemon) - before == 4, what="all of it is out of the queue")
        assert queued(daemon) == 0
    assert [worker.answer(worker.send(task, 100.0)) for task in tasks] == [[100.0], [100.0]]
