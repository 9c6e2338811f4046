"""Scoring by real workers, with a real Redis between: both ways for rows to travel, deaths, another host's model."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from celery.signals import before_task_publish

from predictd.testing import FakeProcess, fake_server, new_endpoint
from predictd_celery import score
from predictd_celery.config import QUEUE
from predictd_celery.scoring.chunk_task import SCORE_CHUNK
from predictd_celery.scoring.folder import MANIFEST
from predictd_proto.errors import ConfigError, ScoreError, TensorMismatchError
from tests.celery.conftest import running_worker
from tests.celery.scoring.score_process import ScoreProcess
from tests.celery.scoring.scored_files import DOUBLE, FORMATS, HANGING, SLOW, STUCK, table
from tests.celery.worker_process import WorkerProcess
from tests.waiting import wait_until

ROWS, CHUNK_ROWS = 120, 5


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeProcess]:
    with FakeProcess(DOUBLE, SLOW, endpoint=new_endpoint()) as found:
        yield found


@pytest.fixture(scope="module")
def scorers(fake: FakeProcess, new_broker_url) -> Iterator[WorkerProcess]:
    with running_worker(fake.endpoint, new_broker_url(), app="predictd_celery", children=2) as process:
        yield process


@pytest.mark.parametrize("shared_folder", [False, True])
@pytest.mark.parametrize("suffix", ["npy", "csv"])
def test_each_row_comes_back_once_and_in_order(scorers, tmp_path: Path, suffix: str, shared_folder: bool) -> None:
    write, read = FORMATS[suffix]
    path, out = tmp_path / f"a.{suffix}", tmp_path / "out"
    write(path, table(ROWS))
    words: dict = {"app": scorers.app, "shared_folder": shared_folder, "chunk_rows": CHUNK_ROWS, "progress": 0}
    report = score("double", path, out, window=3, **words)
    assert (report.rows, report.chunks, report.version) == (ROWS, ROWS // CHUNK_ROWS, 1)
    np.testing.assert_array_equal(read(out / path.name), table(ROWS) * 2)


@pytest.mark.parametrize("shared_folder", [False, True])
def test_bad_rows_are_told_alike_by_both_ways(scorers, tmp_path: Path, shared_folder: bool) -> None:
    path, out = tmp_path / "a.csv", tmp_path / "out"
    path.write_text("1,2,3\n4,five,6\n7,8,9\n")
    words: dict = {"app": scorers.app, "shared_folder": shared_folder, "progress": 0}
    with pytest.raises(ScoreError, match=r"a\.csv:2: expected 3 numbers.*five"):
        score("double", path, out, **words)
    report = score("double", path, tmp_path / "skipped", on_error="skip", **words)
    assert report.bad_rows == 1
    np.testing.assert_array_equal(FORMATS["csv"][1](tmp_path / "skipped" / "a.csv"), [[2, 4, 6], [14, 16, 18]])


def test_what_a_daemon_refuses_stops_the_run(scorers, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full((4, 3), 1j))
    with pytest.raises(TensorMismatchError):
        score("double", tmp_path / "a.npy", tmp_path / "out", app=scorers.app, progress=0)


def test_a_worker_s_child_that_is_killed_loses_nothing(scorers, tmp_path: Path) -> None:
    path, out = tmp_path / "a.npy", tmp_path / "out"
    np.save(path, table(ROWS))
    killed = threading.Event()

    def kill_one() -> bool:
        if any((out / ".predictd-score").glob("*.chunk")) and not killed.is_set():
            scorers.children()[0].kill()
            killed.set()
        return False

    score("slow", path, out, app=scorers.app, chunk_rows=CHUNK_ROWS, progress=0, is_stopping=kill_one)
    assert killed.is_set()
    np.testing.assert_array_equal(np.load(out / "a.npy"), table(ROWS) * 2)


def test_a_chunk_that_kills_each_child_ends_the_run_which_keeps_the_others(
    fake, new_broker_url, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = tmp_path / "a.npy", tmp_path / "out"
    np.save(path, table(4 * CHUNK_ROWS))
    app = "tests.celery.scoring.poisoned_app"
    with running_worker(fake.endpoint, new_broker_url(), app=app, children=1) as poisoned:
        # The ready app's queue; there is one app here for all of this process' brokers.
        monkeypatch.setitem(poisoned.app.conf, "task_default_queue", QUEUE)
        with pytest.raises(ScoreError, match=r"a\.npy, rows 11 to 15: .*WorkerLostError"):
            score("double", path, out, app=poisoned.app, shared_folder=True, chunk_rows=CHUNK_ROWS, progress=0)
    assert len(list((out / ".predictd-score").glob("*.chunk"))) == 3


def test_no_result_is_subscribed_to(scorers, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", table(ROWS))
    subscribed: list[bytes] = []

    def look() -> bool:
        with redis.Redis.from_url(scorers.app.conf.broker_url) as client:
            subscribed.extend(name for name in client.pubsub_channels() if b"celery-task-meta" in name)
        return False

    words: dict[str, Any] = {"app": scorers.app, "chunk_rows": CHUNK_ROWS, "progress": 0}
    score("slow", tmp_path / "a.npy", tmp_path / "out", is_stopping=look, **words)
    assert not subscribed
    with redis.Redis.from_url(scorers.app.conf.broker_url) as client:
        assert not list(client.scan_iter("celery-task-meta*"))


def test_rows_are_in_base64_once_where_the_app_takes_predictd_s_messages(
    scorers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: dict[str, int] = {}

    def weigh(body: Any, headers: Any, **_: Any) -> None:
        if headers["task"] == SCORE_CHUNK:
            sizes["rows"] = body[0][1]["x"].nbytes if isinstance(body[0][1]["x"], np.ndarray) else 0

    rows = table(ROWS)
    np.save(tmp_path / "a.npy", rows)
    before_task_publish.connect(weigh)
    try:
        for accepted in (["json"], ["json", "predictd"]):
            monkeypatch.setitem(scorers.app.conf, "accept_content", accepted)
            words: dict[str, Any] = {"app": scorers.app, "chunk_rows": ROWS, "progress": 0}
            score("double", tmp_path / "a.npy", tmp_path / str(len(accepted)), **words)
            np.testing.assert_array_equal(np.load(tmp_path / str(len(accepted)) / "a.npy"), rows * 2)
            assert sizes["rows"] == (rows.nbytes if "predictd" in accepted else 0)
    finally:
        before_task_publish.disconnect(weigh)


def test_a_worker_writes_chunks_and_nothing_else(scorers, tmp_path: Path) -> None:
    fields = {"path": str(tmp_path / "authorized_keys"), "key": "0" * 64}
    result = scorers.app.tasks[SCORE_CHUNK].apply_async((fields,))
    with pytest.raises(ConfigError, match=r"a chunk's path: expected /\.\.\./\.predictd-score/KEY\.chunk, got"):
        scorers.answer(result)


@pytest.mark.parametrize("way", [[], ["--celery"], ["--celery", "--shared-folder"]])
def test_a_command_that_is_killed_goes_on_where_it_was(scorers, fake, tmp_path: Path, way: list[str]) -> None:
    path, out = tmp_path / "a.npy", tmp_path / "out"
    np.save(path, table(ROWS))
    words = ["--chunk-rows", CHUNK_ROWS, "--window", 2, *way]
    with ScoreProcess("slow", path, out, *words, **_settings(scorers, fake)) as run:
        run.wait_for_chunks(3)
    done = run.chunks
    assert not (out / "a.npy").exists()
    with ScoreProcess("slow", path, out, *words, **_settings(scorers, fake)) as run:
        text = run.told()
    [kept] = re.findall(r"120 rows in 24 chunks, (\d+) done before: a.npy in", text)
    assert done <= int(kept) < 24
    np.testing.assert_array_equal(np.load(out / "a.npy"), table(ROWS) * 2)
    assert json.loads((out / MANIFEST).read_text())["outputs"]["a.npy"]["rows"] == ROWS


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(scorers, fake, tmp_path: Path) -> None:
    path, out = tmp_path / "a.npy", tmp_path / "out"
    np.save(path, table(ROWS))
    words = ["--chunk-rows", CHUNK_ROWS, "--window", 2]
    with ScoreProcess("slow", path, out, *words, **_settings(scorers, fake)) as run:
        run.wait_for_chunks(1)
        run.process.send_signal(signal.SIGINT)
        _, errors = run.process.communicate(timeout=60)
    assert run.process.returncode == 1
    assert "stopping when what is under way is done" in errors
    assert f"of {ROWS // CHUNK_ROWS} chunks are done and kept; the same again goes on" in errors


def test_a_second_ctrl_c_waits_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, out = tmp_path / "a.npy", tmp_path / "out"
    np.save(path, table(ROWS))
    monkeypatch.setenv(STUCK, str(tmp_path / "stuck"))
    with FakeProcess(HANGING, endpoint=new_endpoint()) as stuck:
        words = ["--chunk-rows", CHUNK_ROWS, "--window", 1]
        with ScoreProcess("stuck", path, out, *words, PREDICTD_ENDPOINT=stuck.endpoint) as run:
            wait_until((tmp_path / "stuck").exists)
            assert run.chunks == 1
            run.process.send_signal(signal.SIGINT)
            assert "once more to stop at once" in run.process.stderr.readline()  # type: ignore[union-attr]
            run.process.send_signal(signal.SIGINT)
            # What is asked takes four minutes more.
            run.process.communicate(timeout=60)
        assert run.process.returncode == 1
    # Nobody asked any more whether it was the run's model that had answered it.
    assert not run.chunks


def test_a_host_with_other_files_under_the_version_is_told(scorers, tmp_path: Path) -> None:
    from predictd_celery.scoring.questions import Question, check_model

    with fake_server(DOUBLE, endpoint=new_endpoint()) as other:
        import predictd

        metadata = predictd.Client(other.endpoint).metadata("double")
    question = Question.of(metadata, None, "stop")
    elsewhere = Question.from_fields({**question.to_fields(), "digest": "sha256:other"})
    with pytest.raises(ScoreError, match=r"is .* here, and was sha256:other when the run began"):
        check_model(elsewhere, metadata)


def test_an_app_without_the_tasks_is_refused(tmp_path: Path) -> None:
    import celery

    app = celery.Celery("bare", set_as_current=False)
    app.finalize()
    app.tasks.pop("predictd.score_chunk", None)
    with pytest.raises(ConfigError, match=r"include=.*chunk_task"):
        score("double", "a.npy", tmp_path / "out", app=app, progress=0)


def _settings(scorers: WorkerProcess, fake: FakeProcess) -> dict[str, str]:
    return {"PREDICTD_BROKER_URL": scorers.app.conf.broker_url, "PREDICTD_ENDPOINT": fake.endpoint}
