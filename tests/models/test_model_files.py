"""A path is what it looks like, and what can't be served is refused before TensorFlow starts."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from predictd_proto.errors import ConfigError, ModelLoadError
from predictd_server.models.contents import digest_of, size_bytes
from predictd_server.models.files import ModelFormat, file_at
from tests.model_files import hdf5_file, keras_file, saved_model


def found(path: Path, name: str = "") -> tuple[str, Path, ModelFormat]:
    file = file_at(path, name)
    return file.name, file.path, file.format


def test_a_file_is_called_by_its_stem(tmp_path: Path) -> None:
    keras, h5 = keras_file(tmp_path / "digits.keras"), hdf5_file(tmp_path / "old.v2.h5")
    assert found(keras) == ("digits", keras, ModelFormat.KERAS)
    assert found(h5) == ("old.v2", h5, ModelFormat.HDF5)


@pytest.mark.parametrize("name", ["m.KERAS", "m.H5", "m.hdf5", "m.HDF5"])
def test_endings_are_read_in_any_case(name: str, tmp_path: Path) -> None:
    path = (keras_file if name.endswith("KERAS") else hdf5_file)(tmp_path / name)
    assert found(path)[:2] == ("m", path)


def test_a_saved_model_is_called_by_its_whole_name(tmp_path: Path) -> None:
    path = saved_model(tmp_path / "resnet-2.1")
    assert found(path) == ("resnet-2.1", path, ModelFormat.SAVED_MODEL)


def test_a_saved_model_as_text_and_one_with_an_ending_are_saved_models(tmp_path: Path) -> None:
    text, ending = saved_model(tmp_path / "a", "saved_model.pbtxt"), saved_model(tmp_path / "b.keras")
    assert found(text)[2] is found(ending, "b")[2] is ModelFormat.SAVED_MODEL


def test_a_name_may_be_given(tmp_path: Path) -> None:
    path = keras_file(tmp_path / "my model.keras")
    assert found(path, "mine") == ("mine", path, ModelFormat.KERAS)


def test_an_hdf5_file_may_have_a_user_block(tmp_path: Path) -> None:
    assert found(hdf5_file(tmp_path / "m.h5", offset=512))[0] == "m"


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


def a_pipe(path: Path) -> Path:
    os.mkfifo(path / "m.keras")
    return path / "m.keras"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (empty_directory, "can't be served: expected a .keras file"),
        (unknown_ending, r"m\.onnx: can't be served: expected .*; got a file ending in '\.onnx'"),
        (no_ending, "model: can't be served: .*; got something else"),
        (weights, r"holds weights without a model; expected what model\.save\(\) writes"),
        (directory_named_like_a_file, "expected a file because of its ending '.keras', got a directory without"),
        (strange_name, "its name 'zoë' can't be a model's name: expected 1 to 64 of the characters .*: NAME=PATH"),
        (long_name, "can't be a model's name"),
        (a_pipe, "expected a regular file, got something else"),
    ],
    ids=lambda value: getattr(value, "__name__", "text"),
)
def test_what_is_no_model_is_refused(make: Callable[[Path], Path], words: str, tmp_path: Path) -> None:
    path = make(tmp_path)
    with pytest.raises(ConfigError, match=words) as caught:
        file_at(path)
    assert str(path) in caught.value.message


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    path = keras_file(tmp_path / "m.keras")
    path.chmod(0)
    with pytest.raises(ConfigError, match="can't be read by this user"):
        file_at(path)


@pytest.mark.parametrize("name", ["m.keras", "m.h5", "m.hdf5"])
def test_an_empty_file_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    with pytest.raises(ModelLoadError, match=r"is empty \(0 bytes\); save the model again"):
        file_at(tmp_path / name)


def test_an_empty_saved_model_is_refused(tmp_path: Path) -> None:
    (saved_model(tmp_path / "m") / "saved_model.pb").write_bytes(b"")
    with pytest.raises(ModelLoadError, match=r"saved_model\.pb: is empty"):
        file_at(tmp_path / "m")


def test_a_truncated_keras_file_is_refused(tmp_path: Path) -> None:
    path = keras_file(tmp_path / "m.keras")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(
        ModelLoadError, match=r"expected a zip file with config\.json, got \d+ bytes beginning with b'PK"
    ):
        file_at(path)


def test_a_zip_file_of_something_else_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("holiday.jpg", "")
    with pytest.raises(ModelLoadError, match=r"got a zip file without config\.json"):
        file_at(tmp_path / "m.keras")


def test_a_file_with_the_wrong_ending_is_refused(tmp_path: Path) -> None:
    path = keras_file(tmp_path / "m.keras").rename(tmp_path / "m.h5")
    with pytest.raises(ModelLoadError, match=r"not an HDF5 file: .*, got \d+ bytes beginning with b'PK"):
        file_at(path)


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


def test_a_digest_follows_links_as_a_loader_does(tmp_path: Path) -> None:
    """What a link leads to is loaded; a list of allowed digests that did not see it would allow anything there."""
    path = saved_model(tmp_path / "m")
    shards = tmp_path / "shards"
    shards.mkdir()
    (shards / "a").write_text("1")
    (path / "variables").symlink_to(shards)
    (path / "itself").symlink_to(path)
    before = digest_of(path)
    assert size_bytes(path) == 3
    (shards / "a").write_text("2")
    assert digest_of(path) != before
    plain = shutil.copytree(shards, tmp_path / "plain" / "variables").parent
    shutil.copy(path / "saved_model.pb", plain)
    assert digest_of(plain) == digest_of(path)


def test_a_pipe_among_a_model_s_files_stops_nobody(tmp_path: Path) -> None:
    path = saved_model(tmp_path / "m")
    before = digest_of(path)
    os.mkfifo(path / "pipe")
    assert digest_of(path) == before
