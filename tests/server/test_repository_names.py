"""Names that two models want: who has one keeps it, and its settings come from where its versions come from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from predictd_server.models.entries import entries_of
from predictd_server.models.repository import Repository
from predictd_server.models.settings import ModelSettings
from predictd_server.models.watch import Watch
from tests.model_files import keras_file, saved_model
from tests.server.repositories import repository
from tests.server.upkeep_bench import UpkeepBench

DIGEST = "sha256:" + "0" * 64


def of_table(folder: Path, table: dict[str, object]) -> Repository:
    return Repository(entries_of(table, folder, "predictd.toml"))


def test_an_entry_s_own_name_wins_over_what_comes_into_a_directory(tmp_path: Path) -> None:
    keras_file(tmp_path / "trusted" / "1" / "m.keras")
    keras_file(tmp_path / "all" / "other.keras")
    there = of_table(
        tmp_path,
        {
            "*": {"path": "all", "unsafe": "allow"},
            "m": {"path": "trusted", "unsafe": "refuse", "digests": [DIGEST]},
        },
    )
    there.check(is_watched=False)
    stray = keras_file(tmp_path / "all" / "m.keras")
    found = there.look()
    assert sorted(found) == ["m", "other"]
    assert found["m"].settings == ModelSettings(name="m", path=tmp_path / "trusted", unsafe="refuse", digests=(DIGEST,))
    assert [file.path for file in found["m"].versions.values()] == [tmp_path / "trusted" / "1" / "m.keras"]
    assert len(there.refused) == 1
    assert str(stray) in there.refused[0]
    assert found["m"].notes == there.refused


@pytest.mark.parametrize("stray", ["m.keras", "m.h5", "m/1"])
def test_a_table_without_a_path_wins_over_another_file_of_its_name(stray: str, tmp_path: Path) -> None:
    served = keras_file(tmp_path / "m.keras") if stray != "m.keras" else saved_model(tmp_path / "m" / "7").parent
    there = of_table(tmp_path, {"*": {"path": ".", "unsafe": "allow"}, "m": {"unsafe": "refuse"}})
    there.check(is_watched=False)
    if stray.endswith("1"):
        saved_model(tmp_path / stray)
    else:
        (tmp_path / stray).write_bytes(keras_file(tmp_path / ".whole").read_bytes())
    found = there.look()
    assert (found["m"].settings.path, found["m"].settings.unsafe) == (served, "refuse")


def test_a_name_of_its_own_stays_with_the_entry_while_its_path_is_gone(tmp_path: Path) -> None:
    keras_file(tmp_path / "trusted" / "1" / "m.keras")
    keras_file(tmp_path / "all" / "other.keras")
    there = of_table(tmp_path, {"*": {"path": "all", "unsafe": "allow"}, "m": {"path": "trusted", "unsafe": "refuse"}})
    there.look()
    shutil.rmtree(tmp_path / "trusted")
    keras_file(tmp_path / "all" / "m.keras")
    found = there.look()["m"]
    assert (found.settings.unsafe, dict(found.versions)) == ("refuse", {})


def test_a_path_on_the_command_line_wins_over_what_comes_into_a_directory(tmp_path: Path) -> None:
    path = keras_file(tmp_path / "z" / "m.keras")
    keras_file(tmp_path / "all" / "other.keras")
    there = repository(tmp_path / "all", path)
    there.check(is_watched=False)
    keras_file(tmp_path / "all" / "m.keras")
    assert there.look()["m"].settings.path == path


def test_of_two_in_directories_the_one_that_has_the_name_keeps_it(tmp_path: Path) -> None:
    keras_file(tmp_path / "a" / "other.keras")
    keras_file(tmp_path / "b" / "m.keras")
    there = repository(tmp_path / "a", tmp_path / "b")
    there.hold(there.look())
    stray = keras_file(tmp_path / "a" / "m.keras")
    beside = saved_model(tmp_path / "b" / "m" / "3").parent
    for _ in range(2):
        found = there.look()["m"]
        assert found.settings.path == tmp_path / "b" / "m.keras"
        assert len(there.refused) == 2
        assert all(any(str(path) in text for text in found.notes) for path in (stray, beside))
    (tmp_path / "b" / "m.keras").unlink()
    assert there.look()["m"].settings.path == stray


def test_of_two_in_directories_that_come_at_once_the_first_by_path_has_the_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        keras_file(tmp_path / name / "m.keras")
    assert repository(tmp_path / "b", tmp_path / "a").look()["m"].settings.path == tmp_path / "a" / "m.keras"


def test_a_directory_of_models_stays_one_whatever_comes_into_it(tmp_path: Path) -> None:
    keras_file(tmp_path / "models" / "m.keras")
    there = repository(tmp_path / "models")
    there.hold(there.look())
    saved_model(tmp_path / "models" / "2026")
    saved_model(tmp_path / "models", exist_ok=True)
    keras_file(tmp_path / "models" / "3" / "m.keras")
    found = there.look()
    assert len(there.refused) == 1
    assert there.refused[0].startswith(f"{tmp_path / 'models' / '3'}: is called as a version, and ")
    assert found["m"].settings.path == tmp_path / "models" / "m.keras"
    assert "models" not in found


def test_an_empty_directory_may_still_become_that_of_one_model(tmp_path: Path) -> None:
    there = repository(tmp_path / "m")
    (tmp_path / "m").mkdir()
    there.hold(there.look())
    saved_model(tmp_path / "m" / "1")
    assert list(there.look()) == ["m"]


def test_settings_change_with_the_versions_and_not_before(tmp_path: Path) -> None:
    """The first directory's file goes; the other's takes the name once all of it has settled."""
    keras_file(tmp_path / "a" / "m.keras")
    keras_file(tmp_path / "b" / "other.keras")
    entries = [
        ModelSettings(name="", path=tmp_path / "a", unsafe="refuse"),
        ModelSettings(name="", path=tmp_path / "b", unsafe="allow"),
    ]
    there = Repository(entries)
    watch = Watch(there, interval_s=10, settle_s=2)
    watch.take(there.look(), 0)
    saved_model(tmp_path / "b" / "m" / "1")
    assert watch.look(10).models["m"].settings.unsafe == "refuse"
    (tmp_path / "a" / "m.keras").unlink()
    for second in (20, 21):
        found = watch.look(second).models["m"]
        assert (found.settings.unsafe, found.versions[1].path) == ("refuse", tmp_path / "a" / "m.keras")
        if second == 20:
            saved_model(tmp_path / "b" / "m" / "2")
    assert watch.wait_s(21) == 2, "the second version came a second later, and the whole has to settle"
    found = watch.look(22).models["m"]
    assert found.settings.unsafe == "refuse"
    change = watch.look(23)
    found = change.models["m"]
    assert (found.settings.unsafe, sorted(found.versions)) == ("allow", [1, 2])
    assert (change.added, change.replaced) == ((("m", 2),), (("m", 1),))
    assert watch.unsettled == frozenset()


def test_what_comes_back_before_it_has_settled_is_no_change(tmp_path: Path) -> None:
    path = keras_file(tmp_path / "a" / "m.keras")
    keras_file(tmp_path / "b" / "m.keras")
    there = repository(tmp_path / "a", tmp_path / "b")
    watch = Watch(there, interval_s=10, settle_s=2)
    watch.take(there.look(), 0)
    path.rename(path.with_name(".m"))
    watch.look(10)
    path.with_name(".m").rename(path)
    # The other had the name in the last look of the repository, but never was what is served.
    for second in (11, 13, 20):
        assert not watch.look(second)
        assert watch.look(second).models["m"].settings.path == path


def test_the_loser_is_shown_beside_the_model_that_has_the_name(tmp_path: Path) -> None:
    keras_file(tmp_path / "all" / "other.keras")
    bench = UpkeepBench(tmp_path / "m", 1, 2, beside=[ModelSettings(name="", path=tmp_path / "all")]).begin()
    bench.loads.clear()
    keras_file(tmp_path / "all" / "m.keras")
    bench.look()
    assert bench.loads == [], "nothing of the model has changed"
    assert any(str(tmp_path / "all" / "m.keras") in note for note in bench.row(2).model_notes)
    assert bench.row(1).model_notes == ()
    (tmp_path / "all" / "m.keras").unlink()
    bench.look()
    assert bench.row(2).model_notes == ()


def test_names_that_are_no_versions_are_shown_with_the_newest_version(tmp_path: Path) -> None:
    for name in ("v1", "latest"):
        (tmp_path / name).mkdir()
    bench = UpkeepBench(tmp_path, 1, 2, watch_s=0).begin()
    assert [note.partition(";")[0] for note in bench.row(2).model_notes] == [
        f"{tmp_path / name}: is no version" for name in ("latest", "v1")
    ]
    (tmp_path / "latest").rmdir()
    bench.add(3)
    bench.reload("m")
    assert bench.row(2).model_notes == ()
    assert [note.partition(";")[0] for note in bench.row(3).model_notes] == [f"{tmp_path / 'v1'}: is no version"]
    for number in range(100):
        (tmp_path / f"v{number}").mkdir(exist_ok=True)
    bench.reload("m")
    assert bench.row(3).model_notes[-1] == "and 84 more; the log has all"
