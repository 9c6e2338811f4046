"""A user's own app: client and model made at import and used in the worker's parent, before it forks."""

from __future__ import annotations

import numpy as np
import pytest

from predictd_proto.errors import DeadlineExceededError
from tests.celery.worker_process import WorkerProcess
from tests.idle import idle_share, of_processes

pytestmark = [pytest.mark.integration, pytest.mark.redis, pytest.mark.tensorflow]

TASKS = "tests.celery.user_tasks"


def test_a_client_used_before_the_fork_answers_right_in_every_child(user_worker: WorkerProcess, digits) -> None:
    x, y = digits
    pending = [user_worker.send(f"{TASKS}.scores_and_pid", row.tolist()) for row in x]
    answers = [user_worker.answer(result) for result in pending]
    np.testing.assert_allclose([scores for scores, _ in answers], y, rtol=1e-4, atol=1e-6)
    assert {pid for _, pid in answers} == {child.pid for child in user_worker.children()}


def test_no_child_loads_tensorflow(user_worker: WorkerProcess) -> None:
    pid, modules, maps = user_worker.answer(user_worker.send(f"{TASKS}.loaded_modules_and_maps"))
    assert pid in {child.pid for child in user_worker.children()}
    assert {"predictd", "zmq", "numpy"} <= set(modules)
    assert not {"tensorflow", "keras", "h5py", "ml_dtypes"} & set(modules)
    assert "tensorflow" not in maps


def test_no_child_spins_after_the_fork(user_worker: WorkerProcess) -> None:
    idle_share(of_processes(user_worker.children))


def test_the_ready_task_runs_in_a_user_s_app_too(user_worker: WorkerProcess, digits) -> None:
    answer = user_worker.answer(user_worker.predict("mlp", digits[0][:1].tolist()))
    np.testing.assert_allclose(answer, digits[1][:1], rtol=1e-4, atol=1e-6)


def test_a_soft_limit_inside_predict_ends_it_and_the_child_goes_on(user_worker: WorkerProcess, daemon, digits) -> None:
    started = {child.pid for child in user_worker.children()}
    ended = user_worker.answer(user_worker.send(f"{TASKS}.sleep_in_predict", 6.0, soft_time_limit=1))
    assert ended == "soft time limit"
    pending = [user_worker.send(f"{TASKS}.scores_and_pid", row.tolist()) for row in digits[0][:40]]
    answers = [user_worker.answer(result) for result in pending]
    np.testing.assert_allclose([scores for scores, _ in answers], digits[1][:40], rtol=1e-4, atol=1e-6)
    assert {child.pid for child in user_worker.children()} == started


def test_queued_work_of_a_task_that_ran_out_of_time_is_not_run(user_worker: WorkerProcess, daemon) -> None:
    before = daemon.status().counters
    busy = user_worker.send(f"{TASKS}.sleep_in_predict", 3.0)
    user_worker.wait_until(lambda: daemon.status().counters["batches_total"] > before["batches_total"], "it runs")
    waiting = [user_worker.send(f"{TASKS}.sleep_in_predict", 3.0, soft_time_limit=1) for _ in range(2)]
    assert [user_worker.answer(result) for result in waiting] == ["soft time limit"] * 2
    assert user_worker.answer(busy) == "answered"

    def dropped() -> int:
        after = daemon.status().counters
        # A cancel that doesn't get out in time is told by the end of its connection.
        return sum(after[name] - before[name] for name in ("requests_cancelled_total", "requests_released_total"))

    user_worker.wait_until(lambda: dropped() == 2, "both were dropped")


def test_time_used_up_before_asking_counts(user_worker: WorkerProcess) -> None:
    with pytest.raises(DeadlineExceededError, match="soft time limit of 5 s"):
        user_worker.answer(user_worker.send(f"{TASKS}.sleep_first", 1.5, 15.0, soft_time_limit=5))
