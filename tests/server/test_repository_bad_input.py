"""What is wrong on a disk is told, never raised; what a daemon can not start with is refused."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from predictd_proto.errors import ConfigError, ModelLoadError, PredictdError
from predictd_server.models.contents import fingerprint_of, size_bytes
from predictd_server.models.files import ModelFormat, check_file
from predictd_server.models.policy import wanted
from predictd_server.models.repository import Repository
from tests.model_files import hdf5_file, keras_file, models_of_every_layout, saved_model
from tests.server.repositories import repository, the_one


def refused(*arguments: object, is_watched: bool = False) -> str:
    """Return why a daemon does not start with these models; the repository itself never raises."""
    there = repository(*arguments)
    there.look()
    with pytest.raises(PredictdError) as caught:
        there.check(is_watched=is_watched)
    assert isinstance(caught.value, ConfigError | ModelLoadError)
    return caught.value.message


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    return models_of_every_layout(tmp_path)


NOBODY = 65534

WRONG_NAMES = ["v1", "V2", "01", "00000123", "-1", "+1", "1.0", "1_0", "0", "9" * 20, "9223372036854775808", "٣"]


@pytest.mark.parametrize("name", WRONG_NAMES)
def test_a_directory_that_was_meant_as_a_version_is_told(name: str, tmp_path: Path) -> None:
    saved_model(tmp_path / "m" / "7")
    saved_model(tmp_path / "m" / name)
    found = the_one(tmp_path / "m")
    assert sorted(found.versions) == [7]
    assert found.notes == (
        f"{tmp_path / 'm' / name}: is no version; expected its name to be a whole number from 1 on in plain digits, "
        "such as 1 or 20260131",
    )


@pytest.mark.parametrize("name", WRONG_NAMES)
def test_a_model_with_nothing_but_wrong_names_is_refused_and_not_taken_for_several(name: str, tmp_path: Path) -> None:
    saved_model(tmp_path / "m" / name)
    for argument in (tmp_path / "m", f"x={tmp_path / 'm'}"):
        said = refused(argument)
        assert f"{tmp_path / 'm' / name}: is no version" in said
        assert "expected directories called 1, 2" in said
    found = repository(tmp_path).look()["m"]
    assert (found.versions, len(found.notes)) == ({}, 2)


def test_the_largest_version_is_the_wire_s(tmp_path: Path) -> None:
    saved_model(tmp_path / "9223372036854775807")
    assert wanted(the_one(tmp_path)) == (9223372036854775807,)


@pytest.mark.parametrize("name", ["latest", "export", "v-next"])
def test_a_directory_beside_versions_that_is_none_is_told_once(name: str, tmp_path: Path) -> None:
    saved_model(tmp_path / "1")
    saved_model(tmp_path / name)
    assert the_one(tmp_path).notes[0].startswith(f"{tmp_path / name}: is no version")


@pytest.mark.parametrize("name", [".1", "temp-1", "2.tmp", "3~", "tmp-5", ".ipynb_checkpoints", "README", "golden.npz"])
def test_what_is_unfinished_hidden_or_a_file_beside_versions_is_left_alone(name: str, tmp_path: Path) -> None:
    saved_model(tmp_path / "1")
    if name[0] in "Rg":
        (tmp_path / name).write_text("x")
    else:
        saved_model(tmp_path / name)
    found = the_one(tmp_path)
    assert (sorted(found.versions), found.problems, found.notes) == ([1], {}, ())


def no_file(path: Path) -> None:
    path.mkdir()


def several_models(path: Path) -> None:
    keras_file(path / "a.keras")
    hdf5_file(path / "b.h5")


def only_weights(path: Path) -> None:
    hdf5_file(path / "m.weights.h5")


def empty_file(path: Path) -> None:
    path.mkdir()
    (path / "m.keras").touch()


def half_a_file(path: Path) -> None:
    whole = keras_file(path / "m.keras")
    whole.write_bytes(whole.read_bytes()[:-20])


def empty_graph(path: Path) -> None:
    saved_model(path, contents=b"")


def weights_first(path: Path) -> None:
    (path / "variables").mkdir(parents=True)
    (path / "variables" / "variables.index").write_text("x")


def a_file(path: Path) -> None:
    path.write_text("x")


def a_link_to_nothing(path: Path) -> None:
    path.symlink_to(path.with_name("gone"))


def a_link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def a_pipe(path: Path) -> None:
    path.mkdir()
    os.mkfifo(path / "m.keras")


def a_directory_like_a_file(path: Path) -> None:
    (path / "m.keras").mkdir(parents=True)


def one_too_deep(path: Path) -> None:
    saved_model(path / "export")


def str_of(value: object) -> str:
    return getattr(value, "__name__", "")


BROKEN: list[tuple[Callable[[Path], None], str]] = [
    (no_file, "expected one model in this version's directory, got an empty directory"),
    (several_models, "got 2: a.keras, b.h5; leave one of them"),
    (only_weights, "got files that are none"),
    (empty_file, r"m\.keras: is empty \(0 bytes\)"),
    (half_a_file, "not a whole Keras file"),
    (empty_graph, r"saved_model\.pb: is empty"),
    (weights_first, "got files that are none; expected a .keras file"),
    (a_file, "expected a directory with one model in it because of its name, got a file"),
    (a_link_to_nothing, "got a link that leads nowhere"),
    (a_link_to_itself, "got a link that leads nowhere"),
    (a_pipe, "expected a regular file, got something else"),
    (a_directory_like_a_file, "expected a file because of its ending '.keras', got a directory"),
    (one_too_deep, "got a directory export/ with a model in it; move what it holds up"),
]


@pytest.mark.parametrize(("make", "words"), BROKEN, ids=str_of)
def test_a_broken_version_is_a_problem_and_the_one_before_is_wanted(
    make: Callable[[Path], None], words: str, tmp_path: Path
) -> None:
    saved_model(tmp_path / "1")
    make(tmp_path / "2")
    found = the_one(tmp_path)
    assert (sorted(found.versions), list(found.problems)) == ([1], [2])
    assert re.search(words, found.problems[2])
    assert str(tmp_path / "2") in found.problems[2]
    assert wanted(found) == (1,)
    Repository([found.settings]).check(is_watched=False)


@pytest.mark.parametrize(("make", "words"), [case for case in BROKEN if case[0] is not a_file], ids=str_of)
def test_a_model_of_broken_versions_alone_is_refused(make: Callable[[Path], None], words: str, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    make(tmp_path / "m" / "2")
    assert re.search(words, refused(tmp_path / "m"))
    assert re.search(words, refused(f"x={tmp_path / 'm'}", is_watched=True))
    keras_file(tmp_path / "good.keras")
    there = repository(tmp_path)
    there.check(is_watched=False)
    assert list(there.look()["m"].problems) == [2], "among others it is told and left out"


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A directory of a user who is not root, for whom nothing is readable that should not be."""
    with TemporaryDirectory() as directory:
        is_root = os.geteuid() == 0
        if is_root:
            os.chown(directory, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        try:
            yield Path(directory)
        finally:
            if is_root:
                os.seteuid(0)


@pytest.mark.parametrize("name", ["m", "m/2", "m/2/m.keras"])
def test_what_can_t_be_read_is_told(name: str, as_nobody: Path) -> None:
    keras_file(as_nobody / "m" / "1" / "m.keras")
    keras_file(as_nobody / "m" / "2" / "m.keras")
    (as_nobody / name).chmod(0)
    there = repository(as_nobody / "m")
    said = [text for model in there.look().values() for text in (*model.problems.values(), *model.notes)]
    (as_nobody / name).chmod(0o700)
    assert any("give the daemon's user access" in text for text in [*said, *there.refused])


def test_the_state_of_files_that_can_t_be_looked_at_is_a_state(as_nobody: Path) -> None:
    path = keras_file(as_nobody / "m" / "1" / "m.keras")
    (as_nobody / "m").chmod(0)
    states = [fingerprint_of(path), fingerprint_of(path.parent)]
    assert size_bytes(path) == 0
    (as_nobody / "m").chmod(0o700)
    assert [state.size_bytes for state in states] == [0, 0]
    assert fingerprint_of(path) != states[0]


@pytest.mark.parametrize("function", ["listdir", "stat", "access"])
def test_what_vanishes_or_is_forbidden_while_it_is_looked_at_never_raises(
    function: str, mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call of one kind fails in turn: whatever is there, a look ends and tells the rest."""
    real = getattr(os, function)
    calls = failing = 0

    def flaky(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise PermissionError(13, "Permission denied")
        return real(*arguments, **options)

    there = repository(mixed, f"named={mixed / 'mnist'}")
    monkeypatch.setattr(os, function, flaky)
    there.look()
    for number in range(1, calls + 1):
        calls, failing = 0, number
        found = there.look()
        assert found or there.refused


@pytest.mark.parametrize("function", ["listdir", "stat", "access"])
@pytest.mark.parametrize("name", ["bare.keras", "saved/saved_model.pb", "mnist/10", "digits/1/whatever.keras", "mnist"])
def test_what_really_vanishes_while_it_is_looked_at_is_told_as_that(
    name: str, function: str, mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes before each call of one kind in turn, and is back for the next look."""
    real = getattr(os, function)
    calls = going = 0
    victim, away = mixed / name, mixed.parent / "away"

    def late(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == going:
            victim.rename(away)
        return real(*arguments, **options)

    there = repository(mixed, f"named={mixed / 'mnist'}", mixed / "saved")
    monkeypatch.setattr(os, function, late)
    there.look()
    for number in range(1, calls + 1):
        calls, going = 0, number
        found = there.look()
        going = 0
        away.rename(victim)
        told = [text for model in found.values() for text in (*model.problems.values(), *model.notes)]
        for text in (*told, *there.refused):
            assert not re.search(r"Error|StopIteration|regular file|user access", text), "a bug, or the wrong advice"
        assert {"named", "older"} <= set(found), "the others are not touched"
    assert "saved" in there.look()


def test_a_saved_model_that_goes_between_two_looks_is_told(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.mkdir()
    with pytest.raises(ModelLoadError, match=r"m: expected a SavedModel, got a directory without saved_model\.pb: it "):
        check_file("m", path, ModelFormat.SAVED_MODEL)
    with pytest.raises(FileNotFoundError):
        check_file("m", path / "gone.keras", ModelFormat.KERAS)


def test_a_path_that_is_gone_later_keeps_its_name(tmp_path: Path) -> None:
    path = keras_file(tmp_path / "m.keras")
    there = repository(f"x={path}", path)
    there.check(is_watched=False)
    path.unlink()
    found = there.look()
    assert list(found) == ["x"], "the other had its name from the file"
    assert not found["x"].versions
    assert found["x"].notes[0].startswith(f"{path}: no such file or directory")
    assert len(there.refused) == 2


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gone.keras", r"gone\.keras: no such file or directory; expected a \.keras file"),
        ("", "no model in this directory; expected a .keras file"),
        ("m.onnx", r"m\.onnx: can't be served: expected .*; got a file ending in '\.onnx'"),
        ("loop.keras", r"loop\.keras: can't be looked at: Too many levels"),
        ("zoë.keras", "its name 'zoë' can't be a model's name: .*: NAME=PATH"),
        ("m.keras/inside", "can't be looked at: Not a directory"),
    ],
)
def test_a_path_to_no_model_is_refused(name: str, words: str, tmp_path: Path) -> None:
    if name == "m.onnx":
        (tmp_path / name).write_bytes(b"x")
    if name == "loop.keras":
        (tmp_path / name).symlink_to(tmp_path / name)
    if name in ("zoë.keras", "m.keras/inside"):
        keras_file(tmp_path / name.partition("/")[0])
    said = refused(tmp_path / name)
    assert re.search(words, said)
    assert str(tmp_path / name) in said


def test_a_bad_name_in_a_directory_is_told_and_the_others_are_served(tmp_path: Path) -> None:
    keras_file(tmp_path / "good.keras")
    keras_file(tmp_path / "zoë.keras")
    there = repository(tmp_path)
    there.check(is_watched=False)
    assert list(there.look()) == ["good"]
    assert len(there.refused) == 1
    assert "zoë" in there.refused[0]
    (tmp_path / "good.keras").unlink()
    assert "zoë" in refused(tmp_path)


def test_what_is_watched_may_be_empty_at_first(tmp_path: Path) -> None:
    for argument in (tmp_path, f"m={tmp_path}"):
        repository(argument).check(is_watched=True)
        assert str(tmp_path) in refused(argument)


def test_two_models_of_one_name_are_refused_wherever_they_come_from(tmp_path: Path) -> None:
    one, other = keras_file(tmp_path / "a" / "m.keras"), hdf5_file(tmp_path / "b" / "m.h5")
    versions = saved_model(tmp_path / "c" / "m" / "1").parent
    for pair in (
        (one, other),
        (one, versions),
        (tmp_path / "a", tmp_path / "b"),
        (f"m={other}", tmp_path / "c"),
        (one, one),
    ):
        assert refused(*pair).startswith("model name 'm' is taken twice: by ")
    assert refused(one, other) == (
        f"model name 'm' is taken twice: by {one} and by {other}; give one of them another name: NAME={other}"
    )
    there = repository(one, other)
    assert there.look()["m"].settings.path == one
    assert len(there.refused) == 1
    repository(one, f"n={other}").check(is_watched=False)


def test_a_name_for_a_directory_of_models_is_refused(tmp_path: Path) -> None:
    path = keras_file(tmp_path / "a.keras")
    saved_model(tmp_path / "b" / "1")
    assert f"holds 2: a, b; give one of them: m={path}" in refused(f"m={tmp_path}")
