"""Orders of clients: what each does to a model, what it answers, and what it refuses. No TensorFlow, no thread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from predictd_proto.errors import ModelNotFoundError, VersionNotFoundError
from predictd_proto.limits import MAX_LIST_ITEMS
from predictd_server.models.order_rules import cut_to_fit
from predictd_server.models.settings import ModelSettings
from tests.model_files import keras_file
from tests.server.upkeep_bench import UpkeepBench, done, refused


def test_load_looks_anew_and_serves_the_newest(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1, watch_s=0).begin()
    bench.add(2)
    answer = bench.load()
    assert done(answer)[0].startswith("model m version 2 is ready")
    assert done(answer)[1] == "model m version 1: is served no longer"
    assert [(row.version, row.state) for row in answer.models] == [(2, "ready"), (1, "unloading")]
    assert bench.signature().version == 2


def test_load_of_what_is_ready_changes_nothing_unless_its_files_have(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1, watch_s=0).begin()
    assert done(bench.load()) == ("model m version 1: was ready before",)
    assert done(bench.load(1)) == ("model m version 1: was ready before",)
    assert bench.loads == [1]
    bench.add(1)
    assert "is ready" in done(bench.load(1))[0]
    assert bench.loads == [1, 1]


def test_load_of_an_older_version_serves_it_beside_until_reload(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1, 2).begin()
    bench.load(1)
    assert bench.ready == [2, 1]
    bench.look()
    assert bench.ready == [2, 1], "a look does not undo an order"
    assert done(bench.reload("m")) == ("model m version 1: is served no longer",)
    assert bench.ready == [2]


def test_load_tries_again_what_failed_and_tells_why_it_fails(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1, watch_s=0).begin()
    bench.add(2)
    bench.troubles[2] = ValueError("wrong weights")
    assert "wrong weights" in refused(bench.load(), "model_load")
    assert "wrong weights" in refused(bench.load(2), "model_load")
    assert bench.loads == [1, 2, 2]
    assert bench.ready == [1]
    del bench.troubles[2]
    assert "is ready" in done(bench.load())[0]


def test_load_tells_of_a_newest_version_that_is_broken_instead_of_passing_it_over(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1).begin()
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "model.keras").write_bytes(b"PK")
    assert "not a whole Keras file" in refused(bench.load(), "model_load")
    assert "not a whole Keras file" in refused(bench.load(2), "model_load")
    assert "not a whole Keras file" in refused(bench.reload(), "model_load")
    assert bench.ready == [1]


@pytest.mark.parametrize("model", ["nope", "", "../m", "/etc"])
def test_orders_are_for_models_of_the_configuration_alone(tmp_path: Path, model: str) -> None:
    bench = UpkeepBench(tmp_path / "models", 1).begin()
    assert "there are 'm'" in refused(bench.load(model=model), ModelNotFoundError.code)
    assert "configured with" in refused(bench.reload(model), ModelNotFoundError.code)
    assert bench.loads == [1]


def test_load_and_unload_of_a_version_that_is_not_there(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1).begin()
    assert "no version 7 to load or unload; there are: 1" in refused(bench.load(7), VersionNotFoundError.code)
    assert "no version 7" in refused(bench.unload(7), VersionNotFoundError.code)


@pytest.mark.parametrize(
    ("requests", "said"),
    [
        (0, "is served no longer"),
        (1, "is served no longer; 1 request that it has is finished first"),
        (3, "is served no longer; 3 requests that it has are finished first"),
    ],
)
def test_the_log_counts_the_requests_that_a_version_has_and_no_runs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, requests: int, said: str
) -> None:
    bench = UpkeepBench(tmp_path, 1).begin()
    signature = bench.signature()
    signature.open_requests, signature.open_runs = requests, 1
    with caplog.at_level("INFO", logger="predictd"):
        bench.unload()
    assert f"model m version 1: {said}" in caplog.messages
    signature.open_requests = 0
    bench.upkeep.tend(bench.now)
    assert not bench.runners[0].is_closed, "a run goes on"
    signature.open_runs = 0
    bench.upkeep.tend(bench.now)
    assert bench.runners[0].is_closed


def test_unload_is_answered_when_the_memory_is_given_back(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1).begin()
    signature = bench.signature()
    signature.open_requests = 2
    assert bench.unload() is None
    assert bench.states == {1: "unloading"}
    with pytest.raises(ModelNotFoundError, match="unloading"):
        bench.signature()
    signature.open_requests = 0
    bench.upkeep.tend(bench.now)
    assert "model m version 1: unloaded" in done(bench.answer())[0]
    assert bench.runners[0].is_closed
    assert bench.states == {1: "available"}


def test_what_was_unloaded_stays_so_until_it_is_ordered_back(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1, 2, versions=2).begin()
    bench.unload(2)
    bench.look()
    assert bench.ready == [1]
    bench.load(2)
    assert bench.ready == [2, 1]
    bench.unload()
    bench.add(3)
    bench.look()
    assert bench.ready == [], "the whole model is off, versions that come later too"
    bench.load(1)
    assert bench.ready == [1]
    bench.reload()
    assert bench.ready == [3, 2]


def test_unload_of_several_versions_is_answered_once_all_are_gone(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1, 2, versions="all").begin()
    bench.signature(1).open_requests = 1
    waiting = bench.signature(1)
    assert bench.unload() is None
    bench.upkeep.tend(bench.now)
    assert bench.answer() is None
    waiting.open_requests = 0
    bench.upkeep.tend(bench.now)
    assert [text.partition(";")[0] for text in done(bench.answer())] == [
        "model m version 2: unloaded",
        "model m version 1: unloaded",
    ]


def test_unload_of_what_is_not_loaded_is_said_and_holds(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1, 2).begin()
    assert done(bench.unload(1)) == ("model m: nothing of that was loaded",)


def test_a_version_that_leaves_may_be_loaded_again_meanwhile(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1).begin()
    old = bench.signature()
    old.open_requests = 1
    bench.unload(1)
    assert "is ready" in done(bench.load(1))[0]
    old.open_requests = 0
    bench.upkeep.tend(bench.now)
    assert [runner.is_closed for runner in bench.runners] == [True, False]
    assert bench.signature().runner is bench.runners[1]
    assert bench.states == {1: "ready"}


def test_a_label_points_at_a_ready_version_and_moves(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1, 2, versions=2).begin()
    assert done(bench.label("stable", 1)) == ("model m: the label 'stable' points at version 1",)
    assert bench.signature("stable").version == 1
    assert done(bench.label("stable", 2)) == ("model m: the label 'stable' points at version 2, no longer at 1",)
    assert bench.signature("stable").version == 2
    assert bench.row(2).labels == ("stable",)
    assert done(bench.label("stable", None)) == ("model m: the label 'stable' is gone",)
    with pytest.raises(VersionNotFoundError, match="no version or label 'stable'"):
        bench.signature("stable")


def test_a_label_on_a_version_that_is_not_loaded_is_refused_and_names_those_that_are(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1, 2, 3, versions=2).begin()
    text = refused(bench.label("stable", 1), VersionNotFoundError.code)
    assert "which is not loaded; loaded: 2, 3. Load it first: `predictd load m 1`" in text
    text = refused(bench.label("gone", None), VersionNotFoundError.code)
    assert "has no label 'gone'; it has none" in text


@pytest.mark.parametrize("label", ["", "3", "a b", "x" * 65, "../up"])
def test_what_can_be_no_label(tmp_path: Path, label: str) -> None:
    bench = UpkeepBench(tmp_path, 1).begin()
    assert "can't be a label" in refused(bench.label(label, 1), "invalid_request")


def test_a_labelled_version_is_kept_and_goes_with_its_label(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1).begin()
    bench.label("stable", 1)
    bench.add(2)
    bench.look()
    assert bench.ready == [2, 1]
    bench.reload()
    assert bench.ready == [2, 1], "labels outlast a reload"
    assert "model m version 1: is served no longer" in done(bench.label("stable", 2))
    assert bench.ready == [2]


def test_a_label_of_the_configuration_that_was_moved_keeps_its_version_no_longer(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1, 2, watch_s=0, labels={"stable": 1}).begin()
    assert bench.ready == [2, 1]
    assert "model m version 1: is served no longer" in done(bench.label("stable", 2))
    assert bench.ready == [2]


def test_unload_of_a_labelled_version_says_that_the_label_points_at_nothing_loaded(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1).begin()
    bench.label("stable", 1)
    assert "the label 'stable' still points at version 1" in done(bench.unload(1))[0]
    with pytest.raises(VersionNotFoundError, match="is there, but not loaded"):
        bench.signature("stable")


@pytest.mark.parametrize("default", ["stable", 1])
def test_a_model_that_was_unloaded_comes_back_with_its_labels_and_its_default(
    tmp_path: Path, default: str | int
) -> None:
    bench = UpkeepBench(
        tmp_path, 1, 2, 3, watch_s=0, labels={"stable": 1, "canary": 2}, default_version=default
    ).begin()
    bench.label("canary", 3)
    bench.label("ours", 1)
    bench.upkeep.tend(bench.now)
    before = [(row.version, row.state, row.labels, row.is_default) for row in bench.rows]
    bench.unload()
    assert bench.ready == []
    assert done(bench.load())
    assert bench.ready == [3, 1]
    assert bench.signature().version == bench.signature("stable").version == bench.signature("ours").version == 1
    assert bench.signature("canary").version == 3
    assert [(row.version, row.state, row.labels, row.is_default) for row in bench.rows] == before


def test_a_load_brings_what_else_is_wanted_and_tells_what_of_it_fails(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1, 2, watch_s=0, default_version=1).begin()
    bench.unload()
    bench.troubles[1] = ValueError("went bad")
    text = refused(bench.load(), "model_load")
    assert "went bad" in text
    assert "done: model m version 2 is ready" in text
    assert bench.ready == [2]
    assert done(bench.load()) == ("model m version 2: was ready before",), "what failed is tried again when named"


def test_a_load_that_failed_is_no_order_that_holds(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1, 2).begin()
    bench.troubles[1] = ValueError("no")
    refused(bench.load(1), "model_load")
    bench.troubles.clear()
    bench.add(1)
    bench.look()
    assert bench.ready == [2], "the watch loads what was ordered in vain"
    assert done(bench.reload("m")) == ("model m: is served as it is wanted",)
    assert bench.loads == [2, 1]


def test_a_load_that_failed_leaves_in_force_what_was_ordered_before(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1, 2, versions=2).begin()
    bench.unload()
    bench.troubles[2] = ValueError("no")
    refused(bench.load(), "model_load")
    refused(bench.load(2), "model_load")
    bench.troubles.clear()
    bench.add(2)
    bench.look()
    assert bench.ready == [], "it is still off"


def put_away(bench: UpkeepBench) -> Path:
    return bench.path.rename(bench.path.with_name("away"))


@pytest.mark.parametrize("watch_s", [0.0, 10.0])
@pytest.mark.parametrize("is_alone", [False, True])
def test_load_and_reload_tell_the_same_of_a_model_whose_path_is_gone(
    tmp_path: Path, watch_s: float, *, is_alone: bool
) -> None:
    entry: dict[str, Any] = {"name": ""} if is_alone else {}
    bench = UpkeepBench(tmp_path / "m", 1, watch_s=watch_s, **entry).begin()
    put_away(bench)
    if watch_s:
        bench.look()
    for answer in (bench.load(), bench.load(1), bench.reload("m"), bench.reload()):
        text = refused(answer, "model_load")
        assert f"{tmp_path / 'm'}: no such file or directory" in text
        assert "what was loaded before is still served" in text
    assert bench.ready == [1]
    assert bench.signature().version == 1
    assert "no such file or directory" in bench.row(1).error
    put_back = tmp_path / "away"
    put_back.rename(tmp_path / "m")
    assert done(bench.load()) == ("model m version 1: was ready before",)
    assert done(bench.reload()) == ("model m: is served as it is wanted",)
    assert bench.row(1).error == ""
    assert bench.loads == [1]


def test_load_and_reload_of_a_version_whose_directory_is_gone(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1, 2, versions="all", watch_s=0).begin()
    (tmp_path / "1").rename(tmp_path / ".1")
    text = refused(bench.load(1), VersionNotFoundError.code)
    assert "no version 1" in text
    assert bench.ready == [2, 1]
    assert done(bench.reload())
    assert bench.ready == [2]


def test_what_is_gone_and_was_unloaded_is_nothing_that_a_reload_of_all_misses(tmp_path: Path) -> None:
    everything = ModelSettings(name="", path=tmp_path / "all")
    keras_file(tmp_path / "all" / "n.keras")
    other = keras_file(tmp_path / "all" / "o.keras")
    bench = UpkeepBench(tmp_path / "m", 1, watch_s=0, beside=[everything]).begin()
    bench.unload(model="o")
    other.unlink()
    assert done(bench.reload())
    for answer in (bench.load(model="o"), bench.reload("o")):
        assert f"{other}: no model is there any more" in refused(answer, "model_load")


def test_an_order_is_answered_however_much_there_is_to_tell(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path / "m", 1, watch_s=0).begin()
    for number in range(MAX_LIST_ITEMS + 1):
        (tmp_path / "m" / str(number + 2)).mkdir()
    assert refused(bench.load(), "model_load")
    answer = bench.load(1)
    assert done(answer)
    assert answer.models[-1].version == 1


def test_what_was_done_and_does_not_fit_into_an_answer_is_counted_in_it() -> None:
    assert cut_to_fit(["one", "two"]) == ("one", "two")
    texts = cut_to_fit([str(number) for number in range(MAX_LIST_ITEMS + 5)])
    assert len(texts) == MAX_LIST_ITEMS
    assert texts[-2:] == (str(MAX_LIST_ITEMS - 2), "and 6 more")


def test_reload_says_what_failed_and_what_was_done_besides(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1, versions="all").begin()
    bench.add(2)
    bench.add(3)
    bench.troubles[3] = ValueError("three is broken")
    text = refused(bench.reload(), "model_load")
    assert "three is broken" in text
    assert "done: model m version 2 is ready" in text
    assert bench.ready == [2, 1]
    assert done(UpkeepBench(tmp_path / "other", 1).begin().reload()) == ("model m: is served as it is wanted",)
