"""The watch: what is still being written is left alone, what has settled is told once, and nothing is told twice."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictd_server.models.contents import Fingerprint
from predictd_server.models.files import ModelFile, ModelFormat
from predictd_server.models.found import Found
from predictd_server.models.policy import wanted
from predictd_server.models.repository import Repository
from predictd_server.models.settings import ModelSettings
from predictd_server.models.watch import Watch
from tests.model_files import keras_file, saved_model

SETTLE_S = 2.0


def watch_of(path: Path, *, interval_s: float = 10.0, settle_s: float = SETTLE_S, name: str = "m") -> Watch:
    """Return a watch that took at time 0 what was there."""
    repository = Repository([ModelSettings(name=name, path=path)])
    watch = Watch(repository, interval_s=interval_s, settle_s=settle_s)
    watch.take(repository.look(), 0.0)
    return watch


def test_a_new_version_is_told_once_it_has_settled(tmp_path: Path) -> None:
    keras_file(tmp_path / "1" / "m.keras")
    watch = watch_of(tmp_path)
    assert not watch.look(10)
    keras_file(tmp_path / "2" / "m.keras")
    first = watch.look(20)
    assert not first
    assert wanted(first.models["m"]) == (1,)
    assert not watch.look(21.9)
    change = watch.look(22)
    assert (change.added, change.replaced, change.removed) == ((("m", 2),), (), ())
    assert wanted(change.models["m"]) == (2,)
    assert not watch.look(30)


def test_a_copy_under_way_is_left_alone_until_it_ends(tmp_path: Path) -> None:
    keras_file(tmp_path / "1" / "m.keras")
    whole = keras_file(tmp_path.parent / "whole.keras").read_bytes()
    watch = watch_of(tmp_path)
    (tmp_path / "2").mkdir()
    for second, end in enumerate(range(0, len(whole), 40), start=20):
        (tmp_path / "2" / "m.keras").write_bytes(whole[:end])
        change = watch.look(second)
        assert not change
        assert wanted(change.models["m"]) == (1,)
    (tmp_path / "2" / "m.keras").write_bytes(whole)
    assert not watch.look(50)
    assert watch.look(52).added == (("m", 2),)


def test_a_directory_that_fills_up_file_by_file_is_not_taken_early(tmp_path: Path) -> None:
    """A SavedModel's graph comes first and its weights later: each file alone looks whole."""
    watch = watch_of(tmp_path)
    saved_model(tmp_path / "1")
    assert not watch.look(10)
    (tmp_path / "1" / "variables").mkdir()
    for second, shard in enumerate("abcd", start=11):
        (tmp_path / "1" / "variables" / shard).write_text(shard)
        assert not watch.look(second)
    assert not watch.look(15.9)
    assert watch.look(16).added == (("m", 1),)


def rewritten(path: Path) -> None:
    saved_model(path.with_name("2.tmp"), contents=b"\x08\x02\x03")
    os.replace(path.with_name("2.tmp") / "saved_model.pb", path / "saved_model.pb")


def same_size_other_bytes(path: Path) -> None:
    before = (path / "saved_model.pb").stat().st_mtime_ns
    (path / "saved_model.pb").write_bytes(b"\x08\x03")
    os.utime(path / "saved_model.pb", ns=(before + 1_000_000, before + 1_000_000))


def another_file(path: Path) -> None:
    (path / "assets").mkdir()
    (path / "assets" / "words.txt").write_text("a")


def swapped(path: Path) -> None:
    saved_model(path.with_name("2.tmp"))
    shutil.rmtree(path)
    path.with_name("2.tmp").rename(path)


@pytest.mark.parametrize("change", [rewritten, same_size_other_bytes, another_file, swapped])
def test_a_replaced_version_is_told(change: Callable[[Path], None], tmp_path: Path) -> None:
    saved_model(tmp_path / "2")
    watch = watch_of(tmp_path)
    change(tmp_path / "2")
    assert not watch.look(10)
    told = watch.look(12)
    assert (told.added, told.replaced, told.removed) == ((), (("m", 2),), ())


@pytest.mark.parametrize("layout", ["version", "model"])
def test_a_link_that_is_flipped_is_a_change(layout: str, tmp_path: Path) -> None:
    for release in ("blue", "green"):
        saved_model(tmp_path / "releases" / release / "1")
    link = tmp_path / "m" / "1" if layout == "version" else tmp_path / "m"
    target = {True: "blue/1", False: "blue"}[layout == "version"]
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(tmp_path / "releases" / target)
    watch = watch_of(tmp_path / "m")
    flipped = link.with_name("flipped")
    flipped.symlink_to(tmp_path / "releases" / target.replace("blue", "green"))
    os.replace(flipped, link)
    assert not watch.look(10)
    assert watch.look(12).replaced == (("m", 1),)


def test_a_version_that_goes_and_comes_again_within_the_time_is_no_change(tmp_path: Path) -> None:
    keras_file(tmp_path / "1" / "m.keras")
    keras_file(tmp_path / "2" / "m.keras")
    watch = watch_of(tmp_path)
    (tmp_path / "2").rename(tmp_path / ".2")
    assert not watch.look(10)
    (tmp_path / ".2").rename(tmp_path / "2")
    assert not watch.look(20)


def test_a_version_that_is_gone_is_told_and_the_next_is_wanted(tmp_path: Path) -> None:
    keras_file(tmp_path / "1" / "m.keras")
    keras_file(tmp_path / "2" / "m.keras")
    watch = watch_of(tmp_path)
    shutil.rmtree(tmp_path / "2")
    assert not watch.look(10)
    change = watch.look(12)
    assert change.removed == (("m", 2),)
    assert wanted(change.models["m"], ready=(2,)) == (1,)


def test_what_is_served_stays_when_its_files_break(tmp_path: Path) -> None:
    keras_file(tmp_path / "1" / "m.keras")
    path = keras_file(tmp_path / "2" / "m.keras")
    whole = path.read_bytes()
    watch = watch_of(tmp_path)
    path.write_bytes(whole[:40])
    watch.look(10)
    change = watch.look(12)
    assert (change.added, change.replaced, change.removed) == ((), (), ())
    assert len(change.news) == 1
    assert "not a whole Keras file" in change.news[0]
    assert wanted(change.models["m"], ready=(2,)) == (2,)
    path.write_bytes(whole)
    watch.look(20)
    assert watch.look(22).added == (("m", 2),)


def test_what_is_served_stays_when_the_disk_is_gone(tmp_path: Path) -> None:
    keras_file(tmp_path / "models" / "m" / "1" / "m.keras")
    watch = watch_of(tmp_path / "models", name="")
    shutil.rmtree(tmp_path / "models")
    watch.look(10)
    change = watch.look(12)
    assert change.removed == (("m", 1),)
    assert change.models["m"].notes == (f"{tmp_path / 'models' / 'm'}: no model is there any more",)
    assert wanted(change.models["m"], ready=(1,)) == (1,)


def test_a_model_that_comes_into_a_directory_of_models_is_told(tmp_path: Path) -> None:
    keras_file(tmp_path / "a.keras")
    watch = watch_of(tmp_path, name="")
    saved_model(tmp_path / "b" / "3")
    watch.look(10)
    change = watch.look(12)
    assert change.added == (("b", 3),)
    assert sorted(change.models) == ["a", "b"]


def test_readable_again_is_a_change_though_no_byte_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keras_file(tmp_path / "1" / "m.keras")
    monkeypatch.setattr(os, "access", lambda *_: False)
    watch = watch_of(tmp_path)
    monkeypatch.undo()
    watch.look(10)
    assert watch.look(12).added == (("m", 1),)


def test_each_problem_is_said_once_and_again_only_after_it_was_put_right(tmp_path: Path) -> None:
    watch = watch_of(tmp_path)
    (tmp_path / "v1").mkdir()
    assert any("v1: is no version" in text for text in watch.look(10).news)
    assert not watch.look(20)
    (tmp_path / "v1").rmdir()
    watch.look(30)
    (tmp_path / "v1").mkdir()
    assert any("v1: is no version" in text for text in watch.look(40).news)


def test_an_order_s_look_is_known_to_the_watch(tmp_path: Path) -> None:
    repository = Repository([ModelSettings(name="m", path=tmp_path)])
    watch = Watch(repository, interval_s=10, settle_s=SETTLE_S)
    watch.take(repository.look(), 0)
    keras_file(tmp_path / "1" / "m.keras")
    watch.look(10)
    watch.take(repository.look(), 11)
    assert not watch.look(12)
    assert not watch.look(20)


def test_an_order_for_one_model_repeats_no_news_of_others(tmp_path: Path) -> None:
    for name in ("a", "b"):
        keras_file(tmp_path / name / "1" / "m.keras")
        (tmp_path / name / "v2").mkdir()
    repository = Repository([ModelSettings(name="", path=tmp_path)])
    watch = Watch(repository, interval_s=10, settle_s=SETTLE_S)
    assert len(watch.take(repository.look(), 0)) == 2
    assert watch.take({"a": repository.look()["a"]}, 1) == ()
    assert not watch.look(10)


def test_what_has_not_settled_is_named(tmp_path: Path) -> None:
    watch = watch_of(tmp_path)
    keras_file(tmp_path / "1" / "m.keras")
    watch.look(10)
    assert watch.unsettled == {("m", 1)}
    watch.look(12)
    assert watch.unsettled == frozenset()


def test_it_looks_at_intervals_and_sooner_while_something_settles(tmp_path: Path) -> None:
    watch = watch_of(tmp_path)
    assert watch.wait_s(4) == 6
    assert watch.wait_s(11) == 0
    watch.look(10)
    assert watch.wait_s(10) == 10
    keras_file(tmp_path / "1" / "m.keras")
    watch.look(20)
    assert watch.wait_s(20) == SETTLE_S
    watch.look(22)
    assert watch.wait_s(22) == 10


def test_it_is_off_with_no_interval(tmp_path: Path) -> None:
    assert watch_of(tmp_path, interval_s=0).wait_s(1000) is None


class Scripted(Repository):
    """A repository that has what it is told."""

    def __init__(self) -> None:
        super().__init__([])
        self.versions: dict[int, int] = {}

    def look(self) -> dict[str, Found]:
        """Return the model "m" with the versions there are, each in some state."""
        path = Path("/m")
        return {
            "m": Found(
                ModelSettings(name="m", path=path),
                {number: ModelFile("m", path, ModelFormat.KERAS, number) for number in self.versions},
                fingerprints={number: Fingerprint((("f", state, 0, 0),)) for number, state in self.versions.items()},
            )
        }


@settings(max_examples=200)
@given(
    steps=st.lists(
        st.tuples(
            st.floats(0.1, 3.0),
            st.dictionaries(st.integers(1, 3), st.integers(0, 1), max_size=3),
        ),
        max_size=25,
    )
)
def test_whoever_follows_the_changes_ends_with_what_there_is(steps: list[tuple[float, dict[int, int]]]) -> None:
    repository = Scripted()
    watch = Watch(repository, interval_s=1, settle_s=SETTLE_S)
    watch.take(repository.look(), 0)
    follower: dict[int, int] = {}
    seen: list[tuple[float, dict[int, int]]] = [(0.0, {})]
    now = 0.0
    for seconds, versions in [*steps, *[(SETTLE_S, steps[-1][1] if steps else {})] * 2]:
        now += seconds
        repository.versions = versions
        seen.append((now, versions))
        change = watch.look(now)
        for _, number in change.removed:
            del follower[number]
        for _, number in change.added:
            assert number not in follower
            follower[number] = versions[number]
        for _, number in change.replaced:
            assert follower[number] != versions[number]
            follower[number] = versions[number]
        for _, number in (*change.added, *change.replaced, *change.removed):
            lately = [there.get(number) for at, there in seen if at > now - SETTLE_S]
            assert set(lately) == {versions.get(number)}, "what changed within the time is not told"
        assert set(change.models["m"].versions) == set(follower)
    assert follower == repository.versions
