"""What happens to tasks when daemon, worker or child come, go and die: an answer or a clear error, never silence."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from predictd_proto.errors import DeadlineExceededError, ServerUnavailableError
from tests.daemon_process import DaemonProcess

pytestmark = [pytest.mark.integration, pytest.mark.redis, pytest.mark.tensorflow]

TASKS = "tests.celery.user_tasks"


@pytest.fixture
def own_daemon(start_daemon: Callable[..., DaemonProcess], models: Path) -> DaemonProcess:
    return start_daemon(models / "mlp.keras")


def same(answers, expected) -> None:
    np.testing.assert_allclose(np.array(answers)[:, 0], expected, rtol=1e-4, atol=1e-6)


def test_without_a_daemon_a_task_is_retried_and_then_says_why(start_worker, run_directory: Path) -> None:
    worker = start_worker(
        f"ipc://{run_directory}/p.sock", PREDICTD_TASK_MAX_RETRIES="2", PREDICTD_TASK_MAX_RETRY_DELAY_S="0.2"
    )
    result = worker.predict("mlp", [[0.0] * 64], timeout_ms=500)
    with pytest.raises(ServerUnavailableError, match=r"p\.sock.*predictd serve") as raised:
        worker.answer(result)
    assert raised.value.detail["endpoint"] == f"ipc://{run_directory}/p.sock"
    assert worker.log.count(f"[{result.id}] retry") == 2


def test_a_task_enqueued_before_the_daemon_is_up_gets_its_answer(
    start_worker, start_daemon, run_directory: Path, models: Path, digits
) -> None:
    worker = start_worker(f"ipc://{run_directory}/p.sock")
    result = worker.predict("mlp", digits[0][:1].tolist())
    worker.wait_for_log(f"[{result.id}] retry")
    start_daemon(models / "mlp.keras", wait=False)
    np.testing.assert_allclose(worker.answer(result), digits[1][:1], rtol=1e-4, atol=1e-6)


def test_a_daemon_killed_in_mid_run_costs_no_answer(start_worker, own_daemon: DaemonProcess, digits) -> None:
    worker = start_worker(own_daemon, children=4)
    rows = [row.tolist() for row in digits[0][:, np.newaxis]]
    pending = [worker.predict("mlp", row) for row in rows[:100]]
    worker.wait_until(lambda: sum(result.ready() for result in pending) > 20, "some tasks are done")
    # Stopped first: whatever the children ask now has certainly been sent and not been answered when it dies.
    own_daemon.pause()
    pending += [worker.predict("mlp", row) for row in rows[100:]]
    time.sleep(0.5)
    own_daemon.kill()
    assert sum(result.ready() for result in pending) <= 100
    own_daemon.start(wait=False)
    same([worker.answer(result, 60) for result in pending], digits[1])


def test_one_child_per_task(start_worker, own_daemon: DaemonProcess, digits) -> None:
    worker = start_worker(own_daemon, "--max-tasks-per-child=1", app=TASKS)
    pending = [worker.send(f"{TASKS}.scores_and_pid", row.tolist()) for row in digits[0][:12]]
    answers = [worker.answer(result) for result in pending]
    np.testing.assert_allclose([scores for scores, _ in answers], digits[1][:12], rtol=1e-4, atol=1e-6)
    assert len({pid for _, pid in answers}) == 12


def test_a_warm_shutdown_finishes_the_running_task(start_worker, start_daemon, models) -> None:
    daemon = start_daemon(models / "sleeper")
    worker = start_worker(daemon)
    result = worker.predict("sleeper", [102.0])
    worker.wait_until(lambda: daemon.status().counters["batches_total"], "it runs")
    worker.signal(signal.SIGTERM)
    assert worker.process.wait(60) == 0, worker.log
    assert result.get(timeout=60) == {"slept": [102.0]} or result.get() == [102.0]


def test_a_killed_child_s_task_is_handed_out_again_and_joins_the_run_that_goes_on(
    start_worker, start_daemon, models
) -> None:
    # It would be kept for 10 s; a new child may take longer on a machine with enough else to do.
    daemon = start_daemon(models / "sleeper", "--task-keep-ms", "120000")
    worker = start_worker(daemon, children=1)
    result = worker.predict("sleeper", [103.0], receipt=True)
    worker.wait_until(lambda: daemon.status().counters["batches_total"], "it runs")
    first_child = worker.children()[0]
    first_child.kill()
    answer = worker.answer(result)
    assert answer["receipt"]["closed_by"] == "joined"
    worker.wait_until(lambda: [c.pid for c in worker.children()] not in ([], [first_child.pid]), "a new child is there")
    status = daemon.status()
    assert (status.counters["batches_total"], status.counters["requests_joined_total"]) == (1, 1), "the model ran once"
    assert (status.tasks["names"]["predictd.predict"]["requests"], status.tasks["queues"]["predictd"]["joined"]) == (
        2,
        1,
    )
    assert f"(task predictd.predict[{result.id}])" in daemon.log


def test_the_soft_limit_of_the_command_line_is_known_to_the_tasks(start_worker, start_daemon, models) -> None:
    daemon = start_daemon(models / "sleeper")
    worker = start_worker(daemon, "--soft-time-limit", "5", "--time-limit", "20")
    with pytest.raises(DeadlineExceededError, match="set by the task's soft time limit of 5 s"):
        worker.answer(worker.predict("sleeper", [115.0]))


def test_a_stopped_daemon_is_a_time_out_and_not_silence(start_worker, own_daemon: DaemonProcess, digits) -> None:
    worker = start_worker(own_daemon)
    assert worker.answer(worker.predict("mlp", digits[0][:1].tolist()))
    own_daemon.pause()
    with pytest.raises((DeadlineExceededError, ServerUnavailableError)):
        worker.answer(worker.predict("mlp", digits[0][:1].tolist(), soft_time_limit=2, expires=20))
    own_daemon.resume()
    assert worker.answer(worker.predict("mlp", digits[0][:1].tolist()))
