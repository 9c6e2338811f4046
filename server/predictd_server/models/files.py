"""Model files: what one file or directory is, and whether it is whole, as far as that is cheap.

Owns names, endings and the look at a file's first bytes. It imports no TensorFlow and loads nothing. Main thread at the
start, the models thread from then on.
"""

from __future__ import annotations

import os
import re
import zipfile
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import IO

from predictd_proto.errors import ConfigError, ModelLoadError
from predictd_server.models.frozen_graph_file import check_frozen_graph

#: What a model may be called.
NAME_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,64}")
NAME_RULE = "1 to 64 of the characters A-Z a-z 0-9 . _ -"

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# The format allows a user block of 512 bytes, doubled any number of times, before the signature.
_HDF5_OFFSETS = (0, 512, 1024, 2048)
_KERAS_CONFIG = "config.json"
_SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")
_WEIGHTS_ENDING = ".weights.h5"
EXPECTED = (
    "expected a .keras file, an .h5 or .hdf5 file, a SavedModel directory, a frozen graph's .pb file, "
    "or a directory of such"
)


class ModelFormat(str, Enum):
    """How a model is stored."""

    KERAS = "keras"
    HDF5 = "h5"
    SAVED_MODEL = "saved_model"
    FROZEN_GRAPH = "frozen_graph"


_FORMATS = {
    ".keras": ModelFormat.KERAS,
    ".h5": ModelFormat.HDF5,
    ".hdf5": ModelFormat.HDF5,
    ".pb": ModelFormat.FROZEN_GRAPH,
}

#: What files that hold a model end in.
ENDINGS = tuple(_FORMATS)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One model to load.

    Attributes:
        name: What clients call it.
        path: Its file or directory, absolute.
        format: How it is stored.
        version: Which of the model's versions; a bare file has no other than 1.
        directory: The numbered directory that holds the version; None for a bare file.
    """

    name: str
    path: Path
    format: ModelFormat
    version: int = 1
    directory: Path | None = None


def file_at(path: Path, name: str = "") -> ModelFile:
    """Return the model that a path is, checked as far as that is cheap.

    Args:
        path: A file, or a SavedModel's directory.
        name: What to call it; empty for the path's own name.

    Raises:
        ConfigError: It is no model, can't be read, or its name can't be a model's.
        ModelLoadError: It is empty or not what its ending says.
        OSError: It can't be looked at.
    """
    path.stat()
    format_ = look_at(path)
    if format_ is None:
        raise unservable(path)
    return check_file(name or default_name(path), path, format_)


def default_name(path: Path) -> str:
    """Return what a model is called by its path: a directory's name, a file's stem.

    Raises:
        ConfigError: That can't be a model's name.
    """
    # `..` is the name of a directory that has another.
    named = path.resolve() if path.name == ".." else path
    name = named.name if path.is_dir() else named.stem
    if not NAME_PATTERN.fullmatch(name):
        text = (
            f"{path}: its name {name!r} can't be a model's name: expected {NAME_RULE}; "
            "choose one: NAME=PATH, or rename it"
        )
        raise ConfigError(text)
    return name


def look_at(path: Path) -> ModelFormat | None:
    """Return how the path's model is stored; None for anything else, a directory of models included.

    Raises:
        ConfigError: A directory has a file's ending.
    """
    ending = _FORMATS.get(path.suffix.lower())
    if path.is_dir():
        if any((path / name).is_file() for name in _SAVED_MODEL_FILES):
            return ModelFormat.SAVED_MODEL
        if ending is not None:
            text = (
                f"{path}: expected a file because of its ending {path.suffix!r}, got a directory without "
                f"{_SAVED_MODEL_FILES[0]}; save the model again, or rename the directory if it is one of models"
            )
            raise ConfigError(text)
        return None
    return None if path.name.lower().endswith(_WEIGHTS_ENDING) else ending


def unservable(path: Path) -> ConfigError:
    """Return what to say of a path that is no model."""
    if path.name.lower().endswith(_WEIGHTS_ENDING):
        return ConfigError(f"{path}: holds weights without a model; expected what model.save() writes: model.keras")
    kind = f"a file ending in {path.suffix!r}" if path.is_file() and path.suffix else "something else"
    return ConfigError(f"{path}: can't be served: {EXPECTED}; got {kind}")


def check_file(
    name: str, path: Path, format_: ModelFormat, *, version: int = 1, directory: Path | None = None
) -> ModelFile:
    """Return the file to load, checked as far as that is cheap.

    Raises:
        ConfigError: It can't be read, or is no file.
        ModelLoadError: It is empty, not what its ending says, or no SavedModel any more.
        OSError: It went while it was looked at.
    """
    stored = _saved_model_file(path) if format_ is ModelFormat.SAVED_MODEL else path
    if not stored.is_file():
        stored.stat()  # what is not there any more says so itself
        text = f"{stored}: expected a regular file, got something else (a device, a pipe or a socket)"
        raise ConfigError(text)
    if not os.access(stored, os.R_OK):
        stored.stat()
        text = f"{stored}: can't be read by this user; give the daemon's user access to it"
        raise ConfigError(text)
    if stored.stat().st_size == 0:
        text = f"{stored}: is empty (0 bytes); save the model again or repeat the copy"
        raise ModelLoadError(text)
    if format_ is ModelFormat.KERAS:
        _check_keras(path)
    elif format_ is ModelFormat.HDF5:
        _check_hdf5(path)
    elif format_ is ModelFormat.FROZEN_GRAPH:
        check_frozen_graph(path)
    return ModelFile(name, path, format_, version, directory)


def _saved_model_file(directory: Path) -> Path:
    directory.stat()
    for name in _SAVED_MODEL_FILES:
        if (directory / name).is_file():
            return directory / name
    text = (
        f"{directory}: expected a SavedModel, got a directory without {_SAVED_MODEL_FILES[0]}: it went while it was "
        "looked at; save the model again or repeat the copy"
    )
    raise ModelLoadError(text)


def _check_keras(path: Path) -> None:
    with path.open("rb") as file:
        got = _problem_with_zip(file, path)
    if not got:
        return
    text = (
        f"{path}: not a whole Keras file: expected a zip file with {_KERAS_CONFIG}, got {got}; "
        "it may be cut short: save the model again or repeat the copy"
    )
    raise ModelLoadError(text)


def _problem_with_zip(file: IO[bytes], path: Path) -> str:
    """Return what an open Keras file is instead of a whole one; empty if it may be whole."""
    try:
        with zipfile.ZipFile(file) as archive:
            return "" if _KERAS_CONFIG in archive.namelist() else f"a zip file without {_KERAS_CONFIG}"
    except zipfile.BadZipFile:
        return _beginning(path)
    except Exception as error:  # zipfile takes a damaged list of contents at its word, and fails by what that says
        return f"{_beginning(path)} ({type(error).__name__}: {error})"


def _check_hdf5(path: Path) -> None:
    with path.open("rb") as file:
        for offset in _HDF5_OFFSETS:
            file.seek(offset)
            if file.read(len(_HDF5_SIGNATURE)) == _HDF5_SIGNATURE:
                return
    text = (
        f"{path}: not an HDF5 file: expected it to begin with {_HDF5_SIGNATURE!r}, got {_beginning(path)}; "
        "save the model again or repeat the copy"
    )
    raise ModelLoadError(text)


def _beginning(path: Path) -> str:
    with path.open("rb") as file:
        return f"{path.stat().st_size} bytes beginning with {file.read(8)!r}"
