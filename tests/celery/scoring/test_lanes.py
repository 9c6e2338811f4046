"""The lane of this process' threads: what is given up leaves nothing behind that nobody vouches for."""

from __future__ import annotations

import threading
from concurrent.futures import wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from predictd_celery.retries import RetryPolicy
from predictd_celery.scoring.chunk_task import CHUNK_RETRIES
from predictd_celery.scoring.lanes import LocalLane
from predictd_celery.scoring.outage import LONGEST_S
from predictd_celery.scoring.threads import Threads
from predictd_proto.errors import ScoreError


class Work:
    """A chunk whose answers are the word "done"."""

    question = SimpleNamespace(model="double", version=1, signature="s", digest="")

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def score(self, ask: Any) -> None:
        ask({})
        Path(self.path).write_text("done")


class HeldClient:
    """Answers when the test lets it."""

    def __init__(self) -> None:
        self.is_asked, self.may_answer = threading.Semaphore(0), threading.Semaphore(0)

    def metadata(self, *_: Any) -> Any:
        return SimpleNamespace(digest="")

    def predict(self, *_: Any, **__: Any) -> Any:
        self.is_asked.release()
        assert self.may_answer.acquire(timeout=60)
        return SimpleNamespace(outputs={})


def test_what_is_given_up_is_not_waited_for_and_not_kept(tmp_path: Path) -> None:
    client = HeldClient()
    lane = LocalLane(client, 1, clock=lambda: 0.0)  # type: ignore[arg-type]
    first, second, third = [lane.begin(Work(tmp_path / name)) for name in ("one", "two", "three")]  # type: ignore[arg-type]
    client.may_answer.release()
    first.result(60)
    assert (tmp_path / "one").exists()
    for _ in range(2):
        assert client.is_asked.acquire(timeout=60)
    lane.abandon()
    lane.close()
    assert not second.done()
    client.may_answer.release()
    with pytest.raises(ScoreError, match="given up"):
        second.result(60)
    assert not list(tmp_path.iterdir())
    assert not third.done()


def test_threads_make_all_calls_before_they_are_over() -> None:
    made: list[int] = []
    threads = Threads(3, "test")
    calls = [threads.submit(lambda place=place: made.append(place)) for place in range(20)]  # type: ignore[misc]
    threads.close(is_waiting=True)
    assert sorted(made) == list(range(20))
    assert not wait(calls, 0).not_done


def test_a_chunk_waits_for_a_daemon_for_as_long_as_its_run_does_for_redis() -> None:
    error = ScoreError("away")
    assert sum(RetryPolicy().delay_s(error, retries, 0.0) for retries in range(CHUNK_RETRIES)) > LONGEST_S
