"""What is done while a version is loaded, and what waits for that. No TensorFlow, no thread."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest

from predictd_proto.errors import VersionNotFoundError
from predictd_proto.orders import LabelRequest
from predictd_server.models.files import ModelFile
from tests.server.upkeep_bench import UpkeepBench, done, refused


def test_a_label_is_set_while_a_version_is_loaded(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1, watch_s=0).begin()
    answers: list[object] = []

    def meanwhile(file: ModelFile) -> None:
        bench.desk.take_in(LabelRequest(id=7, model="m", label="stable", version=1), b"other")
        assert bench.upkeep.attend(0, bench.now)
        answers.extend(message for _, message in bench.desk.take_answers())
        assert bench.states == {2: "loading", 1: "ready"}
        assert bench.signature("stable").version == 1

    bench.meanwhile = meanwhile
    bench.add(2)
    assert "version 2 is ready" in done(bench.load())[0]
    assert done(answers[0]) == ("model m: the label 'stable' points at version 1",)
    assert bench.signature("stable").version == 1
    assert bench.ready == [2, 1], "the label that was set meanwhile was forgotten"


def test_a_label_for_what_is_being_loaded_says_that_it_is(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1, watch_s=0).begin()
    answers: list[object] = []

    def meanwhile(file: ModelFile) -> None:
        bench.desk.take_in(LabelRequest(id=7, model="m", label="stable", version=2), b"other")
        bench.upkeep.attend(0, bench.now)
        answers.extend(message for _, message in bench.desk.take_answers())

    bench.meanwhile = meanwhile
    bench.add(2)
    bench.load()
    assert "version 2, which is being loaded; set it when that is done" in refused(
        answers[0], VersionNotFoundError.code
    )


def test_a_version_that_loses_its_label_while_its_new_files_are_loaded_leaves_once(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1, 2, watch_s=0).begin()
    bench.load(1)
    bench.label("stable", 1)
    bench.reload()

    def meanwhile(file: ModelFile) -> None:
        bench.desk.take_in(LabelRequest(id=7, model="m", label="stable", version=2), b"other")
        bench.upkeep.attend(0, bench.now)
        bench.desk.take_answers()
        bench.meanwhile = lambda file: None

    bench.meanwhile = meanwhile
    bench.add(1)
    bench.reload()
    bench.upkeep.tend(bench.now)
    assert bench.ready == [2]
    assert [runner.is_closed for runner in bench.runners] == [False, True, True]


def test_what_leaves_is_let_go_of_while_something_else_is_loaded(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1, 2, versions=2, watch_s=0).begin()
    signature, runner = bench.signature(1), bench.runners[1]
    assert signature.runner is runner
    signature.open_requests = 1
    assert bench.unload(1) is None

    def meanwhile(file: ModelFile) -> None:
        signature.open_requests = 0
        bench.upkeep.attend(0, bench.now)
        assert "unloaded" in done(bench.answer())[0]
        assert runner.is_closed

    bench.meanwhile = meanwhile
    bench.add(2)
    bench.load(2)
    assert bench.ready == [2]


def test_at_the_start_what_is_still_to_come_is_loading_whatever_fails_before(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1, 2, versions=2)
    bench.troubles[2] = ValueError("no")
    newest, oldest = bench.upkeep.begin(0)
    assert not bench.upkeep.bring(newest)
    assert bench.states == {2: "failed", 1: "loading"}
    bench.upkeep.bring(oldest)
    assert bench.states == {2: "failed", 1: "ready"}


def test_nothing_of_a_version_that_changed_while_it_was_loaded_is_held_when_memory_is_given_back(
    tmp_path: Path,
) -> None:
    bench = UpkeepBench(tmp_path, 1).begin()
    held: list[object] = []

    def on_reclaim() -> None:
        runner = weakref.ref(bench.runners.pop())
        gc.collect()
        held.append(runner())

    bench.meanwhile = lambda file: bench.add(2)
    bench.on_reclaim = on_reclaim
    bench.add(2)
    bench.upkeep.tend(100)
    assert bench.states == {2: "failed", 1: "ready"}
    assert held == [None]


def test_a_fault_of_ours_leaves_no_version_loading_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = UpkeepBench(tmp_path, 1).begin()
    bench.add(2)
    with monkeypatch.context() as patch:
        patch.setattr("predictd_server.models.stock.fingerprint", fault)
        with pytest.raises(RuntimeError, match="a fault of ours"):
            bench.upkeep.tend(100)
    assert bench.states == {2: "available", 1: "ready"}
    bench.upkeep.tend(200)
    assert bench.ready == [2]


def fault(*args: object) -> None:
    text = "a fault of ours"
    raise RuntimeError(text)
