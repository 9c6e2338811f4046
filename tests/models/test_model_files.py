"""`[NAME=]PATH` means what it says, and what can't be served is refused before TensorFlow starts."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from predictd_proto.errors import ConfigError, ModelLoadError
from predictd_server.models.files import ModelFormat, digest_of, find_models


def keras_file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    return path


def hdf5_file(path: Path, offset: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\0" * offset + b"\x89HDF\r\n\x1a\n" + b"\0" * 64)
    return path


def saved_model(path: Path, name: str = "saved_model.pb") -> Path:
    path.mkdir(parents=True)
    (path / name).write_bytes(b"\x08\x01")
    return path


def found(*arguments: object) -> list[tuple[str, Path, ModelFormat]]:
    return [(model.name, model.path, model.format) for model in find_models([str(each) for each in arguments])]


def test_a_file_is_called_by_its_stem(tmp_path: Path) -> None:
    keras, h5 = keras_file(tmp_path / "digits.keras"), hdf5_file(tmp_path / "old.v2.h5")
    assert found(keras, h5) == [("digits", keras, ModelFormat.KERAS), ("old.v2", h5, ModelFormat.HDF5)]


@pytest.mark.parametrize("name", ["m.KERAS", "m.H5", "m.hdf5", "m.HDF5"])
def test_endings_are_read_in_any_case(name: str, tmp_path: Path) -> None:
    path = (keras_file if name.endswith("KERAS") else hdf5_file)(tmp_path / name)
    assert found(path)[0][:2] == ("m", path)


def test_a_saved_model_is_called_by_its_whole_name(tmp_path: Path) -> None:
    path = saved_model(tmp_path / "resnet-2.1")
    assert found(path) == [("resnet-2.1", path, ModelFormat.SAVED_MODEL)]


def test_a_saved_model_as_text_and_one_with_an_ending_are_saved_models(tmp_path: Path) -> None:
    text, ending = saved_model(tmp_path / "a", "saved_model.pbtxt"), saved_model(tmp_path / "b.keras")
    assert {kind for _, _, kind in found(text, f"b={ending}")} == {ModelFormat.SAVED_MODEL}


def test_a_name_may_be_given(tmp_path: Path) -> None:
    path = keras_file(tmp_path / "my model.keras")
    assert found(f"mine={path}") == [("mine", path, ModelFormat.KERAS)]


@pytest.mark.parametrize("place", ["lr=0.1/m.keras", "a/b=c/m.keras"])
def test_a_path_may_hold_an_equals_sign(place: str, tmp_path: Path) -> None:
    path = keras_file(tmp_path / place)
    assert found(path)[0][:2] == ("m", path)


def test_a_file_with_an_equals_sign_is_found_before_a_name_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = keras_file(tmp_path / "lr=1.keras")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="name 'lr=1' can't be a model's name"):
        find_models(["lr=1.keras"])
    assert found("m=lr=1.keras") == [("m", path, ModelFormat.KERAS)]


def test_relative_paths_and_home_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = keras_file(tmp_path / "m.keras")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert found("m.keras") == found("~/m.keras") == [("m", path, ModelFormat.KERAS)]


def test_a_directory_means_its_models_in_order(tmp_path: Path) -> None:
    keras_file(tmp_path / "b.keras")
    hdf5_file(tmp_path / "c.h5")
    saved_model(tmp_path / "a")
    (tmp_path / "README.md").write_text("about")
    (tmp_path / "b.weights.h5").write_text("weights")
    (tmp_path / ".hidden.keras").write_text("no")
    (tmp_path / "notes").mkdir()
    assert [name for name, _, _ in found(tmp_path)] == ["a", "b", "c"]


def test_an_hdf5_file_may_have_a_user_block(tmp_path: Path) -> None:
    assert len(found(hdf5_file(tmp_path / "m.h5", offset=512))) == 1


def test_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    one, other = keras_file(tmp_path / "a" / "m.keras"), hdf5_file(tmp_path / "b" / "m.h5")
    with pytest.raises(ConfigError) as caught:
        find_models([str(one), str(other)])
    assert caught.value.message == (
        f"model name 'm' is taken twice: by {one} and by {other}; give one of them another name: NAME={other}"
    )
    assert [name for name, _, _ in found(one, f"n={other}")] == ["m", "n"]


def nothing(path: Path) -> Path:
    return path / "gone.keras"


def empty_directory(path: Path) -> Path:
    return path


def unknown_ending(path: Path) -> Path:
    (path / "m.onnx").write_bytes(b"x")
    return path / "m.onnx"


def no_ending(path: Path) -> Path:
    (path / "model").write_bytes(b"x")
    return path / "model"


def weights(path: Path) -> Path:
    return hdf5_file(path / "m.weights.h5")


def directory_named_like_a_file(path: Path) -> Path:
    (path / "m.keras").mkdir()
    return path / "m.keras"


def strange_name(path: Path) -> Path:
    return keras_file(path / "zoë.keras")


def long_name(path: Path) -> Path:
    return keras_file(path / f"{'m' * 65}.keras")


def numbered_versions(path: Path) -> Path:
    saved_model(path / "mnist" / "9")
    saved_model(path / "mnist" / "10")
    return path / "mnist"


def a_pipe(path: Path) -> Path:
    os.mkfifo(path / "m.keras")
    return path / "m.keras"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (nothing, r"gone\.keras: no such file or directory; expected a \.keras file"),
        (empty_directory, "no model in this directory; expected a .keras file"),
        (unknown_ending, r"m\.onnx: can't be served: expected .*; got a file ending in '\.onnx'"),
        (no_ending, "model: can't be served: .*; got something else"),
        (weights, r"holds weights without a model; expected what model\.save\(\) writes"),
        (directory_named_like_a_file, "expected a file because of its ending '.keras', got a directory without"),
        (strange_name, "its name 'zoë' can't be a model's name: expected 1 to 64 of the characters .*: NAME=PATH"),
        (long_name, "can't be a model's name"),
        (numbered_versions, r"holds numbered versions .*9.*; name the version to serve: mnist=.*/mnist/10"),
        (a_pipe, "expected a regular file, got something else"),
    ],
    ids=lambda value: getattr(value, "__name__", "text"),
)
def test_what_is_no_model_is_refused(make: Callable[[Path], Path], words: str, tmp_path: Path) -> None:
    path = make(tmp_path)
    with pytest.raises(ConfigError, match=words) as caught:
        find_models([str(path)])
    assert str(path) in caught.value.message


@pytest.mark.parametrize("argument", ["two words=m.keras", "=m.keras", "é=m.keras", f"{'m' * 65}=m.keras"])
def test_a_bad_name_is_refused(argument: str) -> None:
    with pytest.raises(ConfigError, match="expected 1 to 64 of the characters"):
        find_models([argument])


@pytest.mark.parametrize("argument", ["", "  ", "m="])
def test_a_missing_path_is_refused(argument: str) -> None:
    with pytest.raises(ConfigError, match="path"):
        find_models([argument])


def test_a_name_for_a_directory_of_models_is_refused(tmp_path: Path) -> None:
    path = keras_file(tmp_path / "a.keras")
    keras_file(tmp_path / "b.keras")
    with pytest.raises(ConfigError, match=f"holds 2: a, b; give a file: m={path}"):
        find_models([f"m={tmp_path}"])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    path = keras_file(tmp_path / "m.keras")
    path.chmod(0)
    with pytest.raises(ConfigError, match="can't be read by this user"):
        find_models([str(path)])


def test_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    path.symlink_to(path)
    with pytest.raises(ConfigError, match="can't be looked at"):
        find_models([str(path)])


@pytest.mark.parametrize("name", ["m.keras", "m.h5", "m.hdf5"])
def test_an_empty_file_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    with pytest.raises(ModelLoadError, match=r"is empty \(0 bytes\); save the model again"):
        find_models([str(tmp_path / name)])


def test_an_empty_saved_model_is_refused(tmp_path: Path) -> None:
    (saved_model(tmp_path / "m") / "saved_model.pb").write_bytes(b"")
    with pytest.raises(ModelLoadError, match=r"saved_model\.pb: is empty"):
        find_models([str(tmp_path / "m")])


def test_a_truncated_keras_file_is_refused(tmp_path: Path) -> None:
    path = keras_file(tmp_path / "m.keras")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(
        ModelLoadError, match=r"expected a zip file with config\.json, got \d+ bytes beginning with b'PK"
    ):
        find_models([str(path)])


def test_a_zip_file_of_something_else_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("holiday.jpg", "")
    with pytest.raises(ModelLoadError, match=r"got a zip file without config\.json"):
        find_models([str(tmp_path / "m.keras")])


def test_a_file_with_the_wrong_ending_is_refused(tmp_path: Path) -> None:
    path = keras_file(tmp_path / "m.keras").rename(tmp_path / "m.h5")
    with pytest.raises(ModelLoadError, match=r"not an HDF5 file: .*, got \d+ bytes beginning with b'PK"):
        find_models([str(path)])


def test_a_digest_is_of_the_contents(tmp_path: Path) -> None:
    one, same, other = (tmp_path / name for name in ("one", "same", "other"))
    one.write_bytes(b"abc")
    same.write_bytes(b"abc")
    other.write_bytes(b"abd")
    assert digest_of(one) == digest_of(same) != digest_of(other)
    assert digest_of(one) == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_directorys_digest_knows_names_and_borders(tmp_path: Path) -> None:
    trees = [{"a": "12", "b/c": "3"}, {"b/c": "3", "a": "12"}, {"a": "1", "b/c": "23"}, {"a": "12", "b/d": "3"}]
    digests = []
    for index, tree in enumerate(trees):
        for name, text in tree.items():
            path = tmp_path / str(index) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        digests.append(digest_of(tmp_path / str(index)))
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
