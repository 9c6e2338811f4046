"""A real Flower, which knows nothing of predictd, beside a worker that speaks the serializer `predictd`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predictd_celery import encode_arrays
from tests.celery.worker_process import WorkerProcess
from tests.web.web_server import WebServer

pytestmark = [pytest.mark.integration, pytest.mark.redis]

IMAGE = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


@pytest.fixture
def flower(start_worker: Callable[..., WorkerProcess], tmp_path: Path) -> Iterator[tuple[WorkerProcess, WebServer]]:
    worker = start_worker("ipc:///nowhere", "-E", app="tests.celery.array_tasks", SERIALIZER="predictd")

    def command(port: int) -> list[str]:
        broker = f"--broker={worker.app.conf.broker_url}"
        return [sys.executable, "-m", "celery", broker, "flower", "--address=127.0.0.1", f"--port={port}"]

    server = WebServer(command, tmp_path, FLOWER_UNAUTHENTICATED_API="true")
    try:
        worker.wait_until(lambda: server.ask("/api/workers?refresh=1").json, "Flower knows the worker")
        yield worker, server
    finally:
        server.stop()


def test_flower_shows_tasks_with_arrays(flower: tuple[WorkerProcess, WebServer]) -> None:
    worker, server = flower
    worker.app.conf.update(result_serializer="predictd", accept_content=["json", "predictd"])
    good = worker.send(
        "tests.celery.array_tasks.described", IMAGE, serializer="predictd", argsrepr="<float32[2, 3, 4]>"
    )
    bad = worker.send("tests.celery.array_tasks.described", *encode_arrays([IMAGE, 1]))
    assert worker.answer(good)[0] == "ndarray"
    with pytest.raises(TypeError, match="takes 1 positional argument"):
        worker.answer(bad)

    def told(result: Any) -> dict[str, Any]:
        reply = server.ask(f"/api/task/info/{result.id}")
        return reply.json if reply.status == 200 else {}

    worker.wait_until(lambda: told(good).get("state") == "SUCCESS" and told(bad).get("state") == "FAILURE", "both")
    assert told(good)["args"] == "<float32[2, 3, 4]>"
    assert told(good)["result"] == "['ndarray', 'float32', [2, 3, 4], 300.0]"
    assert "takes 1 positional argument" in told(bad)["exception"]
    for path in ("/tasks", f"/task/{good.id}", "/workers"):
        assert server.ask(path).status == 200, path
    assert b"float32[2, 3, 4]" in server.ask(f"/task/{good.id}").body


def test_flower_shows_what_waits(flower: tuple[WorkerProcess, WebServer]) -> None:
    worker, server = flower
    waiting = worker.send(
        "tests.celery.array_tasks.described", IMAGE, {1, 2}, serializer="predictd", argsrepr="", countdown=600
    )
    worker.wait_for_log(f"described[{waiting.id}] received")
    (name,) = server.ask("/api/workers?refresh=1").json
    (scheduled,) = server.ask(f"/api/workers?refresh=1&workername={name}").json[name]["scheduled"]
    assert scheduled["request"]["args"] == "(<float32[2, 3, 4] 96 B>, {1, 2})"
    assert server.ask(f"/worker/{name}").status == 200
    worker.app.control.revoke(waiting.id)
