"""Sample files: where they lie, and that no content of one does anything but be read or be refused with a reason."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictd_proto.errors import ModelLoadError
from predictd_server.models.files import ModelFile, ModelFormat
from predictd_server.models.sample_files import MOST_BYTES, read_samples, samples_path


def refused(path: Path) -> str:
    with pytest.raises(ModelLoadError) as caught:
        read_samples(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    return text


def entry(path: Path, name: str, content: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(name, content)
    return path


def npy(header: str, data: bytes = b"", version: int = 1) -> bytes:
    """Return an array's file with a header of one's own."""
    length = len(header).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + header.encode() + data


def npz_of(**arrays: Any) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def test_where_samples_lie(tmp_path: Path) -> None:
    saved_model, version = tmp_path / "saved", tmp_path / "digits" / "3"
    saved_model.mkdir()
    version.mkdir(parents=True)
    places = [
        (saved_model, None, saved_model / "golden.npz"),
        (version, version, version / "golden.npz"),
        (version / "model.keras", version, version / "golden.npz"),
        (tmp_path / "digits.keras", None, tmp_path / "digits.golden.npz"),
        (tmp_path / "digits.v2.h5", None, tmp_path / "digits.v2.golden.npz"),
    ]
    for model, directory, samples in places:
        file = ModelFile("digits", model, ModelFormat.KERAS, directory=directory)
        assert samples_path(file, "golden.npz") == samples


def test_no_file_is_no_samples(tmp_path: Path) -> None:
    assert read_samples(tmp_path / "golden.npz") is None


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_writes_is_read(tmp_path: Path, save: Any) -> None:
    arrays = {
        "inputs/x": np.arange(6.0).reshape(2, 3),
        "s/inputs/words": np.array([b"a", b"bc"]),
        "outputs/text": np.array([["ä"]]),
        "scalar": np.int64(3),
        "columns": np.asfortranarray(np.arange(6).reshape(2, 3)),
    }
    save(tmp_path / "a.npz", **arrays)
    read = read_samples(tmp_path / "a.npz")
    assert read is not None
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "exploded"),)

    header = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    path = entry(tmp_path / "a.npz", "inputs/x.npy", npy(header, pickle.dumps(Bomb())))
    assert "array 'inputs/x' holds Python objects, which would have to be unpickled; expected numbers" in refused(path)
    np.savez(path, **{"inputs/x": np.array([{}], object)}, allow_pickle=True)
    refused(path)
    path.write_bytes(pickle.dumps(Bomb()))
    refused(path)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.npy", b"", "expected a whole .npz file"),
        ("x.npy", b"\x93NUMPY\x01\x00", "expected a whole .npz file"),
        ("x.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }"), "claims the shape"),
        ("x.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -1), }", b"1234"), "expected a whole"),
        ("x.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", b"12345"), "claims the shape [1]"),
        (
            "x.npy",
            npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", b"1234", 3),
            "named fields",
        ),
        ("x.npy", npy("__import__('os').abort()"), "expected a whole .npz file"),
        ("x.npy", npy("(" * 9000), "expected a whole .npz file"),
        ("x.txt", b"hello", "holds 'x.txt', which is no array; write the file with numpy.savez"),
    ],
)
def test_entries_that_are_no_arrays_are_refused(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    assert expected in refused(entry(tmp_path / "a.npz", name, content))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a zip file", npz_of(x=np.ones(100))[:300]])
def test_half_a_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    assert "it may be cut short: write it again" in refused(tmp_path / "a.npz")


def test_a_damaged_array_is_refused(tmp_path: Path) -> None:
    content = bytearray(npz_of(x=np.ones(100)))
    content[300] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    assert "Bad CRC-32" in refused(tmp_path / "a.npz")


def test_another_packing_is_refused(tmp_path: Path) -> None:
    content = io.BytesIO()
    np.save(content, np.ones(3))
    path = entry(tmp_path / "a.npz", "x.npy", content.getvalue(), zipfile.ZIP_BZIP2)
    assert "packed in a way that numpy doesn't write" in refused(path)


def test_more_than_a_few_samples_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros(MOST_BYTES + 1, "uint8"))
    assert (tmp_path / "a.npz").stat().st_size < 1 << 20
    assert "expected at most 256 arrays of 64 MiB in all, got 1 of 64.0 MiB; keep a few samples" in refused(
        tmp_path / "a.npz"
    )
    many: dict[str, Any] = {f"x{number}": np.ones(1) for number in range(257)}
    np.savez(tmp_path / "b.npz", **many)
    assert "got 257 of " in refused(tmp_path / "b.npz")
    with (tmp_path / "c.npz").open("wb") as file:
        file.truncate(1 << 40)
    assert "expected at most 65 MiB, got 1048576 MiB" in refused(tmp_path / "c.npz")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    assert "expected a regular file" in refused(tmp_path / "directory")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert "dangling link" in refused(tmp_path / "dangling")
    os.mkfifo(tmp_path / "pipe")
    assert "expected a regular file" in refused(tmp_path / "pipe")


def test_a_file_that_cant_be_opened_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> Any:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.npz").write_bytes(b"")
    monkeypatch.setattr(zipfile, "ZipFile", refuse)
    assert "can't be read: Permission denied; give the daemon's user access to it" in refused(tmp_path / "a.npz")


VALID = npz_of(**{"inputs/x": np.arange(6, dtype="float32").reshape(2, 3), "outputs/y": np.array([b"a", b"b"])})


@given(st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_any_damage_is_read_or_refused(changes: list[tuple[int, int]]) -> None:
    content = bytearray(VALID)
    for position, value in changes:
        content[position] = value
    path = PATH / "damaged.npz"
    path.write_bytes(content)
    with contextlib.suppress(ModelLoadError):
        read_samples(path)


@pytest.fixture(scope="module", autouse=True)
def _folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    global PATH  # noqa: PLW0603  (hypothesis runs one test many times within one function's fixtures)
    PATH = tmp_path_factory.mktemp("samples")


PATH = Path()
