"""Models' tasks go to queues of their own, and only the hosts that consume these run them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import celery
import numpy as np
import pytest

from predictd.testing import FakeProcess, new_endpoint
from predictd_celery import ModelQueues, PredictTask, model_task, predict_task
from predictd_celery.config import celery_settings
from predictd_proto.errors import ConfigError
from tests.celery.scoring.score_process import ScoreProcess
from tests.celery.scoring.scored_files import DOUBLE, SLOW, table
from tests.celery.worker_process import WorkerProcess


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "queue"),
    [
        ("predictd.predict", ("mobilenet", [[1.0]]), {}, "gpu"),
        ("predictd.predict", (), {"model": "text-1", "inputs": []}, "large"),
        ("predictd.predict_many", ("text-1",), {}, "large"),
        ("predictd.score_question", ("mobilenet", None, None, "stop"), {}, "gpu"),
        ("predictd.score_chunk", ({"question": {"model": "mobilenet"}},), {}, "gpu"),
        ("predictd.predict", ("digits", []), {}, None),
        ("predictd.status", (), {}, None),
        ("mine.mobilenet", ("mobilenet",), {}, None),
    ],
)
def test_the_queue_is_the_model_s(name: str, args: tuple, kwargs: dict, queue: str | None) -> None:
    queues = ModelQueues.parse("mobilenet=gpu, text-*=large")
    assert queues(name, args, kwargs, {}) == (queue and {"queue": queue})


def test_tasks_that_are_made_for_a_model_go_to_its_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    app = celery.Celery("tests", broker="memory://", set_as_current=False)
    app.conf.task_routes = (ModelQueues({"mobilenet": "gpu", "text-*": "large"}),)
    sent: list[str] = []
    monkeypatch.setattr(app.amqp, "send_task_message", lambda *_, queue, **__: sent.append(queue.name))

    @predict_task("text-1", app=app)
    def best(prediction: object) -> object:
        return prediction

    @app.task(base=PredictTask, shared=False, predictd_model="mobilenet")
    def own(pixels: object) -> object:
        return pixels

    mobilenet = model_task("mobilenet", app=app)
    for task in mobilenet, best, own, model_task("digits", app=app):
        task.delay([1.0])
    mobilenet.s([1.0]).apply_async()
    celery.chain(best.s([1.0]), mobilenet.s()).apply_async()
    assert sent == ["gpu", "large", "gpu", "celery", "gpu", "large"]
    app.close()


@pytest.mark.parametrize("text", ["mobilenet", "=gpu", "a=b,c=", "a:b"])
def test_a_wrong_setting_names_itself(text: str) -> None:
    with pytest.raises(ConfigError, match=f"PREDICTD_QUEUES: expected MODEL=QUEUE.*{text!r}"):
        celery_settings({"PREDICTD_QUEUES": text})


@pytest.fixture
def endpoint() -> Iterator[str]:
    with FakeProcess(DOUBLE, SLOW, endpoint=new_endpoint()) as fake:
        yield fake.endpoint


def has_done(worker: WorkerProcess, count: int) -> bool:
    return worker.log.count(" succeeded in ") == count


@pytest.mark.integration
@pytest.mark.redis
def test_only_hosts_of_a_class_get_a_model_s_chunks(new_broker_url, endpoint: str, tmp_path: Path) -> None:
    broker_url, queues = new_broker_url(), {"PREDICTD_QUEUES": "sl*=gpu"}
    plain = WorkerProcess(tmp_path, broker_url, endpoint, "--hostname", "plain@%h", **queues)  # type: ignore[arg-type]
    options = ["--queues", "gpu", "--hostname", "gpu@%h"]
    gpu = WorkerProcess(tmp_path, broker_url, endpoint, *options, **queues)  # type: ignore[arg-type]
    try:
        for worker in plain, gpu:
            worker.wait_for_log(" ready.")
        np.save(tmp_path / "a.npy", table(30))
        settings = {"PREDICTD_BROKER_URL": broker_url, "PREDICTD_ENDPOINT": endpoint, **queues}
        for model in "slow", "double":
            words = ["--celery", "--chunk-rows", 5, "--quiet"]
            with ScoreProcess(model, tmp_path / "a.npy", tmp_path / model, *words, **settings) as run:
                run.told()
        for worker in plain, gpu:
            # One of the run's six chunks each, and the question before them.
            worker.wait_until(partial(has_done, worker, 7), "its own tasks are done")
    finally:
        plain.kill()
        gpu.kill()
