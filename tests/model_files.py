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


def hdf5_file(path: Path, offset: int = 0) -> Path:
    """Write a file that begins as HDF5 does, after a user block of some bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\0" * offset + b"\x89HDF\r\n\x1a\n" + b"\0" * 64)
    return path


def saved_model(path: Path, name: str = "saved_model.pb", contents: bytes = b"\x08\x01") -> Path:
    """Make a directory with what a SavedModel has at least."""
    path.mkdir(parents=True)
    (path / name).write_bytes(contents)
    return path
