"""The models thread: what goes on while a version is loaded, how it ends, and what faults of ours do. No TensorFlow."""

from __future__ import annotations

import logging
import select
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from predictd_proto.errors import ServerDrainingError
from predictd_proto.metadata import ModelMetadata
from predictd_proto.orders import LabelRequest, OrderRequest, ReloadRequest
from predictd_server.models import models_thread
from predictd_server.models.files import ModelFile
from predictd_server.models.models_thread import ModelsThread
from predictd_server.models.registry import Registry, ServedModel
from predictd_server.models.repository import Repository
from predictd_server.models.settings import ModelSettings
from predictd_server.models.upkeep import Upkeep
from predictd_server.settings import Settings
from tests.model_files import keras_file
from tests.server.upkeep_bench import done, refused

PATIENCE_S = 60.0


class FakeLoading:
    """Each load lasts until it is let end."""

    def __init__(self) -> None:
        self.loads: list[int] = []
        self.begun = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)

    def load(self, file: ModelFile, settings: ModelSettings) -> ServedModel:
        self.loads.append(file.version)
        self.begun.release()
        assert self.may_end.acquire(timeout=PATIENCE_S)
        return ServedModel(ModelMetadata(name=file.name, version=file.version, state="ready"))

    def runtime(self) -> dict[str, Any]:
        return {}


class ThreadBench:
    """A models thread of the model `m`, of which all versions are served."""

    def __init__(self, path: Path, loading: FakeLoading, *versions: int) -> None:
        self.path = path
        for version in versions:
            self.add(version)
        self.loading = loading
        self.registry = Registry()
        self.started = threading.Event()
        settings = Settings(models=(ModelSettings(name="m", path=path, versions="all"),))
        self.thread = ModelsThread(
            settings,
            self.registry,
            Repository(settings.models),
            seen_generation=lambda: self.registry.generation,
            on_started=self.started.set,
        )
        self.desk = self.thread.desk

    def add(self, version: int) -> None:
        keras_file(self.path / str(version) / "model.keras")

    def start(self) -> ThreadBench:
        self.thread.start()
        return self

    def wait_for_start(self) -> None:
        assert self.started.wait(PATIENCE_S)

    def wait_for_load(self) -> None:
        assert self.loading.begun.acquire(timeout=PATIENCE_S)

    def end_load(self, count: int = 1) -> None:
        self.loading.may_end.release(count)

    def give(self, request: OrderRequest) -> None:
        self.desk.take_in(request, b"peer")

    def answer(self) -> object:
        assert select.select([self.desk], [], [], PATIENCE_S)[0]
        [(_, answer)] = self.desk.take_answers()
        return answer

    def stop(self) -> None:
        self.thread.stop()
        self.end_load(100)
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive

    @property
    def states(self) -> dict[int, str]:
        return {metadata.version: metadata.state for metadata in self.registry.metadata("m")}


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ThreadBench]]:
    loading = FakeLoading()
    monkeypatch.setattr(models_thread, "VersionLoading", lambda *args: loading)
    monkeypatch.setattr(models_thread, "FAULT_PAUSE_S", 0.0)
    benches: list[ThreadBench] = []

    def begin(*versions: int) -> ThreadBench:
        benches.append(ThreadBench(tmp_path, loading, *versions))
        return benches[-1].start()

    yield begin
    for bench in benches:
        bench.stop()


def test_the_end_of_a_load_is_noticed_and_told_when_all_are_done(start: Callable[..., ThreadBench]) -> None:
    bench = start(1, 2)
    bench.wait_for_load()
    assert bench.states == {2: "loading", 1: "loading"}
    bench.end_load()
    bench.wait_for_load()
    assert bench.states == {2: "ready", 1: "loading"}
    assert not bench.started.is_set()
    bench.end_load()
    bench.wait_for_start()
    assert bench.states == {2: "ready", 1: "ready"}
    assert not bench.registry.is_starting


def test_while_a_version_is_loaded_labels_are_set_and_other_orders_wait(start: Callable[..., ThreadBench]) -> None:
    bench = start(1, 2)
    bench.wait_for_load()
    bench.end_load()
    bench.wait_for_load()
    bench.give(LabelRequest(id=1, model="m", label="late", version=2, timeout_ms=0.0))
    assert "time was up before its turn" in refused(bench.answer(), "expired_in_queue")
    bench.give(LabelRequest(id=2, model="m", label="stable", version=2))
    assert done(bench.answer()) == ("model m: the label 'stable' points at version 2",)
    bench.give(ReloadRequest(id=3))
    assert bench.states == {2: "ready", 1: "loading"}
    bench.end_load()
    assert done(bench.answer()) == ("model m: is served as it is wanted",)


def test_stopped_in_the_middle_of_a_load_it_begins_no_other_and_none_has_failed(
    start: Callable[..., ThreadBench], caplog: pytest.LogCaptureFixture
) -> None:
    bench = start(1)
    bench.end_load()
    bench.wait_for_load()
    bench.wait_for_start()
    for version in (2, 3, 4):
        bench.add(version)
    bench.give(ReloadRequest(id=1))
    bench.wait_for_load()
    bench.thread.stop()
    assert "not finished" in refused(bench.answer(), ServerDrainingError.code)
    assert bench.thread.is_alive, "nobody can break off a load"
    bench.stop()
    assert bench.loading.loads == [1, 4]
    assert bench.states[4] == "ready"
    assert "failed" not in bench.states.values()
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_stopped_during_the_first_load_it_has_not_started(
    start: Callable[..., ThreadBench], caplog: pytest.LogCaptureFixture
) -> None:
    bench = start(1, 2)
    bench.wait_for_load()
    bench.stop()
    assert bench.loading.loads == [2]
    assert not bench.started.is_set()
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("attend", "internal error while a version is loaded"),
        ("bring", "internal error while loading"),
        ("tend", "internal error while looking after the models"),
    ],
)
def test_a_fault_of_ours_ends_neither_the_thread_nor_a_load(
    start: Callable[..., ThreadBench],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    step: str,
    said: str,
) -> None:
    whole: Callable[..., Any] = getattr(Upkeep, step)
    faults: list[int] = []

    def faulty(*args: Any) -> Any:
        if not faults:
            faults.append(1)
            text = "a fault of ours"
            raise RuntimeError(text)
        return whole(*args)

    monkeypatch.setattr(Upkeep, step, faulty)
    bench = start(1, 2)
    bench.end_load(2)
    bench.wait_for_start()
    bench.give(ReloadRequest(id=1))
    bench.end_load()
    assert done(bench.answer())
    assert bench.states == {2: "ready", 1: "ready"}
    assert any(record.message.startswith(said) for record in caplog.records)
