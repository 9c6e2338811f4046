"""What is done while a version is loaded, and what waits for that. No TensorFlow, no thread."""

from __future__ import annotations

from pathlib import Path

from predictd_proto.errors import VersionNotFoundError
from predictd_proto.orders import LabelRequest
from predictd_server.models.files import ModelFile
from tests.server.loader_bench import LoaderBench, done, refused


def test_a_label_is_set_while_a_version_is_loaded(tmp_path: Path) -> None:
    bench = LoaderBench(tmp_path, 1, watch_s=0).begin()
    answers: list[object] = []

    def meanwhile(file: ModelFile) -> None:
        bench.desk.take_in(LabelRequest(id=7, model="m", label="stable", version=1), b"other")
        assert bench.loader.attend(0, bench.now)
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
    bench = LoaderBench(tmp_path, 1, watch_s=0).begin()
    answers: list[object] = []

    def meanwhile(file: ModelFile) -> None:
        bench.desk.take_in(LabelRequest(id=7, model="m", label="stable", version=2), b"other")
        bench.loader.attend(0, bench.now)
        answers.extend(message for _, message in bench.desk.take_answers())

    bench.meanwhile = meanwhile
    bench.add(2)
    bench.load()
    assert "version 2, which is being loaded; set it when that is done" in refused(
        answers[0], VersionNotFoundError.code
    )


def test_a_version_that_loses_its_label_while_its_new_files_are_loaded_leaves_once(tmp_path: Path) -> None:
    bench = LoaderBench(tmp_path, 1, 2, watch_s=0).begin()
    bench.load(1)
    bench.label("stable", 1)
    bench.reload()

    def meanwhile(file: ModelFile) -> None:
        bench.desk.take_in(LabelRequest(id=7, model="m", label="stable", version=2), b"other")
        bench.loader.attend(0, bench.now)
        bench.desk.take_answers()
        bench.meanwhile = lambda file: None

    bench.meanwhile = meanwhile
    bench.add(1)
    bench.reload()
    bench.loader.tend(bench.now)
    assert bench.ready == [2]
    assert [runner.is_closed for runner in bench.runners] == [False, True, True]


def test_what_leaves_is_let_go_of_while_something_else_is_loaded(tmp_path: Path) -> None:
    bench = LoaderBench(tmp_path, 1, 2, versions=2, watch_s=0).begin()
    signature = bench.signature(1)
    signature.open_requests = 1
    assert bench.unload(1) is None

    def meanwhile(file: ModelFile) -> None:
        signature.open_requests = 0
        bench.loader.attend(0, bench.now)
        assert "unloaded" in done(bench.answer())[0]

    bench.meanwhile = meanwhile
    bench.add(2)
    bench.load(2)
    assert bench.ready == [2]
    assert bench.runners[0].is_closed or bench.runners[1].is_closed


def test_at_the_start_what_is_still_to_come_is_loading_whatever_fails_before(tmp_path: Path) -> None:
    bench = LoaderBench(tmp_path, 1, 2, versions=2)
    bench.troubles[2] = ValueError("no")
    newest, oldest = bench.loader.begin(0)
    assert not bench.loader.bring(newest)
    assert bench.states == {2: "failed", 1: "loading"}
    bench.loader.bring(oldest)
    assert bench.states == {2: "failed", 1: "ready"}
