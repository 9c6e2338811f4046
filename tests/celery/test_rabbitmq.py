"""RabbitMQ in Redis' place: the ready app's tasks, scoring both ways, and a worker that is killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from predictd.testing import FakeProcess, new_endpoint
from tests.celery.scoring.score_process import ScoreProcess
from tests.celery.scoring.scored_files import DOUBLE, SLOW, table
from tests.celery.worker_process import WorkerProcess
from tests.rabbitmq_process import running_rabbitmq

pytestmark = pytest.mark.integration

ROWS, CHUNK_ROWS = 120, 5


@pytest.fixture(scope="module")
def broker_url() -> Iterator[str]:
    with running_rabbitmq() as url:
        yield url


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with FakeProcess(DOUBLE, SLOW, endpoint=new_endpoint()) as fake:
        yield fake.endpoint


@pytest.fixture
def worker(broker_url: str, endpoint: str, tmp_path: Path) -> Iterator[WorkerProcess]:
    process = WorkerProcess(tmp_path, broker_url, endpoint)
    process.wait_for_log(" ready.")
    yield process
    process.kill()


def test_tasks_and_runs_survive_a_killed_worker(
    worker: WorkerProcess, broker_url: str, endpoint: str, tmp_path: Path
) -> None:
    assert worker.answer(worker.predict("double", [[1.0, 2.0, 3.0]])) == [[2.0, 4.0, 6.0]]
    np.save(tmp_path / "a.npy", table(ROWS))
    settings = {"PREDICTD_BROKER_URL": broker_url, "PREDICTD_ENDPOINT": endpoint}
    words = ["--celery", "--chunk-rows", CHUNK_ROWS, "--quiet"]
    path = tmp_path / "a.npy"
    with (
        ScoreProcess("slow", path, tmp_path / "messages", *words, **settings) as messages,
        ScoreProcess("slow", path, tmp_path / "shared", *words, "--shared-folder", **settings) as shared,
    ):
        for run in messages, shared:
            run.wait_for_chunks(3)
        worker.kill()
        another = WorkerProcess(tmp_path, broker_url, endpoint)
        try:
            for run in messages, shared:
                run.told()
                np.testing.assert_array_equal(np.load(run.out / "a.npy"), table(ROWS) * 2)
        finally:
            another.kill()


def test_arrays_go_through_it_in_the_serializer_and_come_back(broker_url: str, endpoint: str, tmp_path: Path) -> None:
    worker = WorkerProcess(tmp_path, broker_url, endpoint, app="tests.celery.array_tasks", SERIALIZER="predictd")
    worker.app.conf.update(
        task_serializer="predictd", result_serializer="predictd", accept_content=["json", "predictd"]
    )
    image = np.random.default_rng(0).random((64, 64, 3), np.float32)
    try:
        worker.wait_for_log(" ready.")
        np.testing.assert_array_equal(worker.answer(worker.send("tests.celery.array_tasks.doubled", image)), image * 2)
        (back, _) = worker.answer(worker.send("tests.celery.array_tasks.echo", image, (1, {2}), b"\xff"))
        np.testing.assert_array_equal(back[0], image)
        assert back[1:] == ((1, {2}), b"\xff")
    finally:
        worker.kill()
