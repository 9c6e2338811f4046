"""The lifecycle: what the start, the watch and failures make of the versions of a model. No TensorFlow, no thread."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictd_proto.errors import ModelLoadError, ModelNotFoundError, ModelNotReadyError, VersionNotFoundError
from predictd_server.models.contents import Fingerprint
from predictd_server.models.files import ModelFile, ModelFormat
from predictd_server.models.found import Found
from predictd_server.models.lifecycle import Failure, Standing, Will, due_loads, due_unloads, wanted_versions
from predictd_server.models.settings import ALL_VERSIONS, ModelSettings
from tests.server.upkeep_bench import UpkeepBench

VERSIONS = st.frozensets(st.integers(1, 6), max_size=5)


@st.composite
def standings(draw: st.DrawFn) -> Standing:
    """Any policy, any files, anything served, failed and ordered."""
    there, ready, failed = draw(VERSIONS), draw(VERSIONS), draw(VERSIONS)
    policy = draw(st.integers(1, 3) | st.just(ALL_VERSIONS) | VERSIONS.map(lambda some: tuple(sorted(some)) or (1,)))
    settings = ModelSettings(name="m", path=Path("/m"), versions=policy)
    states = {number: Fingerprint((("f", draw(st.integers(1, 2)), 0, 0),)) for number in there}
    found = Found(
        settings,
        {number: ModelFile("m", Path("/m"), ModelFormat.KERAS, version=number) for number in there},
        fingerprints=states,
    )
    state = Fingerprint((("f", 1, 0, 0),))
    labels = {"l": draw(st.none() | st.integers(1, 6))}
    will = Will(draw(VERSIONS), draw(VERSIONS), draw(st.booleans()), labels)
    return Standing(
        found,
        dict.fromkeys(ready, state),
        {number: Failure(state, "no") for number in failed - ready},
        draw(st.just(Will()) | st.just(will)),
    )


@given(standings())
def test_what_is_to_come_is_wanted_and_there_and_what_goes_is_served_and_not_wanted(standing: Standing) -> None:
    wanted = set(wanted_versions(standing))
    coming = {file.version for file in due_loads(standing)}
    going = set(due_unloads(standing))
    assert coming <= wanted & set(standing.found.versions)
    assert going <= set(standing.ready) - wanted
    assert list(wanted_versions(standing)) == sorted(wanted, reverse=True)


@given(standings())
def test_without_an_order_as_many_are_kept_as_are_wanted_and_never_none(standing: Standing) -> None:
    will = standing.will
    ordered = set(standing.ready) if will.is_off else will.unloaded & set(standing.ready)
    kept = set(standing.ready) - set(due_unloads(standing))
    most = len(set(standing.ready) - ordered)
    assert len(kept) >= min(most, len(wanted_versions(standing)))
    if will == Will() and standing.ready:
        assert kept


@given(standings())
def test_the_same_files_are_not_tried_twice_unasked_and_are_when_asked(standing: Standing) -> None:
    for file in due_loads(standing):
        state, number = standing.found.fingerprints[file.version], file.version
        assert standing.ready.get(number) != state
        assert number not in standing.failures or standing.failures[number].fingerprint != state
    assert {file.version for file in due_loads(standing)} <= {
        file.version for file in due_loads(standing, retries=True)
    }


def test_the_start_loads_what_is_wanted_and_shows_the_rest(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1, 2, 10).begin()
    assert bench.loads == [10]
    assert bench.states == {10: "ready", 2: "available", 1: "available"}
    assert bench.signature().version == 10
    with pytest.raises(VersionNotFoundError, match=r"version 2 is there, but not loaded; ready: version 10.*load m 2"):
        bench.signature(2)


def test_until_it_is_loaded_a_model_says_that_it_is_loading(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1, 2, versions=2)
    files = bench.upkeep.begin(0)
    assert bench.states == {2: "loading", 1: "loading"}
    with pytest.raises(ModelNotReadyError):
        bench.signature()
    assert bench.upkeep.bring(files[0])
    assert bench.signature().version == 2


def test_a_new_version_is_loaded_beside_the_old_one_which_leaves_when_nobody_needs_it(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1).begin()
    old = bench.signature()
    old.open_requests = 1
    served_meanwhile = []
    bench.meanwhile = lambda file: served_meanwhile.append((file.version, bench.signature().version))
    bench.add(2)
    bench.look()
    assert served_meanwhile == [(2, 1)]
    assert bench.states == {2: "ready", 1: "unloading"}
    assert [runner.is_closed for runner in bench.runners] == [False, False]
    assert bench.upkeep.tend(bench.now), "a version that leaves is looked after"
    old.open_requests = 0
    bench.upkeep.tend(bench.now)
    assert [runner.is_closed for runner in bench.runners] == [True, False]
    assert bench.states == {2: "ready", 1: "available"}
    assert "unloaded" in bench.row(1).notes[0]


def test_a_version_is_kept_while_a_request_may_come_in_that_found_it_before_it_was_taken_out(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1).begin()
    bench.seen = bench.registry.generation
    bench.add(2)
    bench.look()
    assert not bench.runners[0].is_closed
    bench.seen = bench.registry.generation
    bench.upkeep.tend(bench.now)
    assert bench.runners[0].is_closed


def test_changed_files_of_a_version_replace_it(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1).begin()
    bench.add(1)
    bench.look()
    assert bench.loads == [1, 1]
    assert [runner.is_closed for runner in bench.runners] == [True, False]
    assert bench.signature().runner is bench.runners[1]
    bench.look()
    assert bench.loads == [1, 1], "nothing has changed since"


@pytest.mark.parametrize(
    "trouble",
    [
        ModelLoadError("the answers are wrong"),
        ValueError("what a layer raises"),
        MemoryError("no memory"),
        SystemExit("a user's module"),
        RecursionError("deep"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_failed_load_keeps_the_old_version_and_shows_why_beside_it(tmp_path: Path, trouble: BaseException) -> None:
    bench = UpkeepBench(tmp_path, 1).begin()
    bench.troubles[2] = trouble
    bench.add(2)
    bench.look()
    assert bench.states == {2: "failed", 1: "ready"}
    assert str(trouble) in bench.row(2).error
    assert bench.signature().version == 1
    assert bench.reclaimed, "what a failed load held is given back"
    with pytest.raises(ModelLoadError, match=r"is not served.*load m 2"):
        bench.signature(2)
    bench.look()
    assert bench.loads == [1, 2], "the same files are not tried again"
    del bench.troubles[2]
    bench.add(2)
    bench.look()
    assert bench.states == {2: "ready", 1: "available"}


def test_a_failed_replacement_of_a_version_keeps_it_and_shows_why(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1).begin()
    bench.troubles[1] = ValueError("worse than before")
    bench.add(1)
    bench.look()
    assert bench.states == {1: "ready"}
    assert "worse than before; what was loaded before is still served" in bench.row(1).error
    assert not bench.runners[0].is_closed
    bench.troubles.clear()
    bench.add(1)
    bench.look()
    assert bench.row(1).error == ""


def test_files_that_break_under_a_version_are_told_and_it_is_served_on(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1).begin()
    (tmp_path / "1" / "model.keras").write_bytes(b"PK cut sh")
    bench.look()
    assert bench.states == {1: "ready"}
    assert "not a whole Keras file" in bench.row(1).error
    assert "still served" in bench.row(1).error


def test_a_version_that_changes_while_it_is_loaded_is_not_published_and_tried_again(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1).begin()
    bench.meanwhile = lambda file: bench.add(2) if bench.loads.count(2) == 1 else None
    bench.add(2)
    bench.upkeep.tend(100)
    assert bench.loads == [1, 2]
    assert bench.states == {2: "failed", 1: "ready"}
    assert "changed while it was loaded" in bench.row(2).error
    bench.upkeep.tend(200)
    assert bench.loads == [1, 2, 2]
    assert bench.ready == [2]
    bench.upkeep.tend(201)
    assert [runner.is_closed for runner in bench.runners] == [True, True, False]


def test_a_version_whose_directory_is_gone_leaves_only_when_another_is_there(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1, 2).begin()
    shutil.rmtree(tmp_path / "2")
    bench.look()
    assert bench.ready == [1]
    shutil.rmtree(tmp_path / "1")
    bench.look()
    assert bench.ready == [1], "the last one does not go because its files are gone"
    assert bench.signature().version == 1


def test_an_old_version_stands_in_for_one_that_fails(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1, 2, versions=2).begin()
    bench.troubles[3] = ValueError("no")
    bench.add(3)
    bench.look()
    assert bench.ready == [2, 1]
    bench.add(4)
    bench.look()
    assert bench.ready == [4, 2], "4 and 3 are wanted, 3 failed: 2 stands in"


def test_labels_of_the_configuration_keep_their_versions_and_may_come_later(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1, labels={"stable": 1, "canary": 3}, default_version="stable").begin()
    bench.add(2)
    bench.look()
    assert bench.ready == [2, 1]
    assert bench.signature("stable").version == bench.signature().version == 1
    assert [metadata.version for metadata in bench.rows if metadata.is_default] == [1]
    with pytest.raises(ModelLoadError, match="names version 3"):
        bench.signature("canary")
    assert (bench.row(3).state, bench.row(3).labels) == ("failed", ("canary",))
    bench.add(3)
    bench.look()
    assert bench.signature("canary").version == 3


def test_a_default_that_is_not_there_is_an_error_that_says_so(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1, default_version="stable").begin()
    with pytest.raises(VersionNotFoundError, match=r"no version or label 'stable', which is its default; it has"):
        bench.signature()
    assert bench.signature(1).version == 1


def test_however_many_versions_there_are_a_look_changes_what_is_shown_in_few_steps(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, *range(1, 40), labels={"stable": 1}, versions=(1,)).begin()
    assert bench.registry.generation < 10
    before = bench.registry.generation
    bench.look()
    assert bench.registry.generation == before, "nothing has changed"


def test_orders_do_not_put_off_the_next_look(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1, watch_s=10, versions="all").begin()
    bench.add(2)
    for bench.now in (4.0, 8.0, 12.0):
        bench.load(1)
        bench.upkeep.tend(bench.now)
    assert bench.ready == [2, 1]


def test_a_model_of_which_nothing_is_loaded_says_what_there_is(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1).begin()
    bench.unload()
    with pytest.raises(ModelNotFoundError, match=r"is not served now: it has version 1 \(available\).*predictd load m"):
        bench.signature()
