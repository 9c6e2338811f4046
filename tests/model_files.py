"""Files that look like models to whoever does not load them."""

from __future__ import annotations

import zipfile
from pathlib import Path


def keras_file(path: Path) -> Path:
    """Write a zip file with what a Keras file has at least."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    return path


def damaged_keras_file(path: Path) -> Path:
    """Write a Keras file with one wrong byte: the version that its list of contents asks of whoever reads it."""
    contents = bytearray(keras_file(path).read_bytes())
    contents[contents.index(b"PK\x01\x02") + 6] = 0xFF
    path.write_bytes(contents)
    return path


def hdf5_file(path: Path, offset: int = 0) -> Path:
    """Write a file that begins as HDF5 does, after a user block of some bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\0" * offset + b"\x89HDF\r\n\x1a\n" + b"\0" * 64)
    return path


def saved_model(
    path: Path, name: str = "saved_model.pb", contents: bytes = b"\x08\x01", *, exist_ok: bool = False
) -> Path:
    """Make a directory with what a SavedModel has at least."""
    path.mkdir(parents=True, exist_ok=exist_ok)
    (path / name).write_bytes(contents)
    return path


def models_of_every_layout(path: Path) -> Path:
    """Fill a directory with models of every layout, and with what else lies around."""
    keras_file(path / "bare.keras")
    hdf5_file(path / "older.h5")
    saved_model(path / "saved")
    for version in ("9", "10"):
        saved_model(path / "mnist" / version)
    keras_file(path / "digits" / "1" / "whatever.keras")
    (path / "digits" / "1" / "golden.npz").write_bytes(b"x")
    (path / "digits" / "README.md").write_text("about")
    (path / "README.md").write_text("about")
    (path / "bare.weights.h5").write_text("weights")
    keras_file(path / ".hidden.keras")
    keras_file(path / "coming.keras.tmp")
    keras_file(path / "old.keras~")
    (path / "notes" / "more").mkdir(parents=True)
    return path
