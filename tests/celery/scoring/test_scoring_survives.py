"""Scoring by workers on one machine where what it stands on dies in mid-run: Redis, the worker, the claim store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import celery
import numpy as np
import pytest

from predictd.testing import FakeProcess, new_endpoint
from predictd_celery import score as score_here
from predictd_celery.config import celery_settings
from predictd_celery.scoring.outage import AwayError, Outage
from tests.celery.scoring.score_process import ScoreProcess
from tests.celery.scoring.scored_files import SLOW, table
from tests.celery.worker_process import WorkerProcess
from tests.redis_process import KeptRedis

pytestmark = [pytest.mark.integration, pytest.mark.redis]

ROWS, CHUNK_ROWS = 300, 5
#: So that what a dead worker holds is handed out again while the test waits; a retry waits for a tenth of it.
SETTINGS = {"PREDICTD_VISIBILITY_TIMEOUT_S": "3", "PREDICTD_TASK_MAX_RETRIES": "100"}
REFUSED = "Trying again in"
AWAY = "ClaimStoreUnavailableError"
#: More than the result backend's own, which the test makes few.
MANY_RETRIES = 5


@contextmanager
def kept_redis(folder: Path) -> Iterator[KeptRedis]:
    process = KeptRedis(folder)
    try:
        yield process
    finally:
        process.kill()


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeptRedis]:
    with kept_redis(tmp_path_factory.mktemp("broker")) as process:
        yield process


@pytest.fixture(scope="module")
def claims(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeptRedis]:
    with kept_redis(tmp_path_factory.mktemp("claims")) as process:
        yield process


@pytest.fixture(scope="module")
def settings(redis: KeptRedis, claims: KeptRedis) -> Iterator[dict[str, str]]:
    """The environment of workers and runs."""
    with FakeProcess(SLOW, endpoint=new_endpoint()) as fake:
        yield {
            **SETTINGS,
            "PREDICTD_BROKER_URL": redis.url,
            "PREDICTD_ENDPOINT": fake.endpoint,
            "PREDICTD_CLAIM_STORE": claims.url,
        }


@pytest.fixture(scope="module")
def start(settings: dict[str, str], tmp_path_factory) -> Iterator[Callable[[], WorkerProcess]]:
    """Start a worker; all of them end with the module. Each keeps what it answers out of its messages."""
    started: list[WorkerProcess] = []

    def start() -> WorkerProcess:
        words = {**settings, "PREDICTD_CLAIM_CHECK_BYTES": "1"}
        broker_url, endpoint = words.pop("PREDICTD_BROKER_URL"), words.pop("PREDICTD_ENDPOINT")
        started.append(WorkerProcess(tmp_path_factory.mktemp("worker"), broker_url, endpoint, **words))  # type: ignore[arg-type]
        started[-1].wait_for_log(" ready.")
        return started[-1]

    yield start
    for worker in started:
        worker.kill()


@pytest.fixture(scope="module")
def workers(start: Callable[[], WorkerProcess]) -> list[WorkerProcess]:
    """One worker; a test that kills it leaves another one."""
    return [start()]


@pytest.fixture
def score(settings: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., ScoreProcess]]:
    """Begin a run."""
    begun: list[ScoreProcess] = []
    np.save(tmp_path / "a.npy", table(ROWS))

    def score(*options: str, **more: str) -> ScoreProcess:
        words = ["--celery", "--chunk-rows", CHUNK_ROWS, "--quiet", *options]
        out = tmp_path / f"out{len(begun)}"
        begun.append(ScoreProcess("slow", tmp_path / "a.npy", out, *words, **settings, **more))
        return begun[-1]

    yield score
    for run in begun:
        with run:
            pass


@pytest.fixture
def both_ways(score: Callable[..., ScoreProcess]) -> list[ScoreProcess]:
    """A run whose rows travel in messages, and one on a shared folder; some of their chunks are done, most are not."""
    runs = [score(), score("--shared-folder")]
    for run in runs:
        run.wait_for_chunks(5)
    return runs


def see_it_end_well(run: ScoreProcess) -> None:
    assert f"{ROWS} rows in {ROWS // CHUNK_ROWS} chunks: a.npy" in run.told()
    np.testing.assert_array_equal(np.load(run.out / "a.npy"), table(ROWS) * 2)


def test_redis_is_killed_and_started_again(redis: KeptRedis, workers, both_ways: list[ScoreProcess]) -> None:
    [worker] = workers
    refused = worker.log.count(REFUSED)
    redis.kill()
    # Long enough for a task to end meanwhile, which the worker then can't acknowledge.
    worker.wait_until(lambda: worker.log.count(REFUSED) > refused, "it has tried to connect")
    redis.start()
    for run in both_ways:
        see_it_end_well(run)
    assert worker.process.poll() is None, worker.log


def test_the_whole_worker_is_killed_and_another_started(workers, start, both_ways: list[ScoreProcess]) -> None:
    workers.pop().kill()
    workers.append(start())
    for run in both_ways:
        see_it_end_well(run)


@pytest.mark.parametrize("is_emptied", [False, True], ids=["away", "emptied"])
def test_the_claim_store_is_gone_for_a_while(claims: KeptRedis, workers, score, is_emptied: bool) -> None:
    run = score(PREDICTD_CLAIM_CHECK_BYTES="1")
    run.wait_for_chunks(5)
    told = workers[0].log.count(AWAY)
    claims.kill()
    # The run asks it too, and meanwhile in vain.
    workers[0].wait_until(lambda: workers[0].log.count(AWAY) > told + 5, "tasks were retried")
    if is_emptied:
        (claims.log_path.parent / "appendonly.aof").unlink()
    claims.start()
    see_it_end_well(run)


def test_an_outage_longer_than_the_backend_s_own_retries_is_waited_for(
    redis: KeptRedis, workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = celery.Celery("impatient", set_as_current=False)
    app.conf.update(celery_settings({"PREDICTD_BROKER_URL": redis.url, "PREDICTD_VISIBILITY_TIMEOUT_S": "3"}))
    app.conf.update(
        result_backend_max_retries=1,
        result_backend_transport_options={
            "retry_policy": {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
        },
    )
    np.save(tmp_path / "a.npy", table(ROWS))
    begun, away, ask = iter(range(10_000)), [], Outage.ask

    def watched(self: Outage, call: Callable[[], Any]) -> Any:
        try:
            return ask(self, call)
        except AwayError:
            away.append(self)
            if len(away) == MANY_RETRIES:
                redis.start()
            raise

    def kill_redis() -> bool:
        if next(begun) == 20:
            redis.kill()
        return False

    monkeypatch.setattr(Outage, "ask", watched)
    out = tmp_path / "out"
    words: dict[str, Any] = {"app": app, "shared_folder": True, "chunk_rows": CHUNK_ROWS, "progress": 0}
    score_here("slow", tmp_path / "a.npy", out, is_stopping=kill_redis, **words)
    assert len(away) >= MANY_RETRIES
    np.testing.assert_array_equal(np.load(out / "a.npy"), table(ROWS) * 2)
