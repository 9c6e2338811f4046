"""Model files: from `[NAME=]PATH` to the files and directories to load, checked as far as that is cheap.

Owns names, endings, digests and the look at a file's first bytes. It imports no TensorFlow and loads nothing. Main
thread, before anything else starts; digests are made on the loader thread.
"""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

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
_BLOCK_BYTES = 1 << 20
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


def find_models(arguments: Iterable[str]) -> list[ModelFile]:
    """Return the models that `[NAME=]PATH` texts mean, in order; a directory's models in the order of their names.

    Raises:
        ConfigError: A path, an ending or a name is wrong, or two models have one name.
        ModelLoadError: A file is empty or not what its ending says.
    """
    found: dict[str, ModelFile] = {}
    for argument in arguments:
        for model in _models_of(argument):
            other = found.get(model.name)
            if other is not None:
                text = (
                    f"model name {model.name!r} is taken twice: by {other.path} and by {model.path}; "
                    f"give one of them another name: NAME={model.path}"
                )
                raise ConfigError(text)
            found[model.name] = model
    return list(found.values())


def digest_of(path: Path) -> str:
    """Return "sha256:..." of a file's bytes, or of a directory's files with their relative names, in sorted order.

    Raises:
        OSError: Something in it can't be read.
    """
    digest = hashlib.sha256()
    if path.is_file():
        _feed(digest, path)
        return f"sha256:{digest.hexdigest()}"
    files = [file for file in path.rglob("*") if file.is_file()]
    for file in sorted(files, key=lambda file: file.relative_to(path).as_posix()):
        # Name and size keep files apart: moving bytes from one to the next is another tree.
        entry = f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\0"
        digest.update(entry.encode("utf-8", "surrogateescape"))
        _feed(digest, file)
    return f"sha256:{digest.hexdigest()}"


def _feed(digest: hashlib._Hash, path: Path) -> None:
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)


def _models_of(argument: str) -> list[ModelFile]:
    name, path = _split(argument)
    format_ = look_at(path)
    if format_ is not None:
        return [check_file(name or default_name(path), path, format_)]
    if not path.is_dir():
        raise unservable(path)
    models = [check_file(default_name(child), child, kind) for child, kind in _children(path)]
    if not models:
        text = f"{path}: no model in this directory; {EXPECTED}"
        raise ConfigError(text)
    if name is not None:
        text = (
            f"{name}={path}: a name is for one model, and this directory holds {len(models)}: "
            f"{', '.join(model.name for model in models)}; give a file: {name}={models[0].path}"
        )
        raise ConfigError(text)
    return models


def _split(argument: str) -> tuple[str | None, Path]:
    if not argument.strip():
        text = f"a model's path is empty; {EXPECTED}"
        raise ConfigError(text)
    before, equals, after = argument.partition("=")
    # A path may hold "=" too: `runs/lr=0.1/model.keras`, or `lr=0.1.keras` where there is such a file.
    if not equals or "/" in before or Path(argument).exists():
        return None, _absolute(argument)
    if not NAME_PATTERN.fullmatch(before):
        text = f"model name {before!r} in {argument!r}: expected {NAME_RULE}"
        raise ConfigError(text)
    if not after:
        text = f"{argument!r} names a model without a path; expected NAME=PATH"
        raise ConfigError(text)
    return before, _absolute(after)


def _absolute(text: str) -> Path:
    path = Path(text).expanduser().absolute()
    try:
        path.stat()
    except FileNotFoundError:
        message = f"{path}: no such file or directory; {EXPECTED}"
        raise ConfigError(message) from None
    except OSError as error:
        message = f"{path}: can't be looked at: {error.strerror}; give the daemon's user access to it"
        raise ConfigError(message) from error
    return path


def default_name(path: Path) -> str:
    """Return what a model is called by its path: a directory's name, a file's stem.

    Raises:
        ConfigError: That can't be a model's name.
    """
    name = path.name if path.is_dir() else path.stem
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


def _children(directory: Path) -> list[tuple[Path, ModelFormat]]:
    try:
        children = sorted(child for child in directory.iterdir() if not child.name.startswith("."))
    except OSError as error:
        text = f"{directory}: can't be listed: {error.strerror}; give the daemon's user access to it"
        raise ConfigError(text) from error
    found = [(child, kind) for child in children if (kind := look_at(child)) is not None]
    if found and all(child.name.isdecimal() and child.is_dir() for child, _ in found):
        newest = max((child for child, _ in found), key=lambda child: int(child.name))
        text = (
            f"{directory}: holds numbered versions of one model ({', '.join(child.name for child, _ in found)}), "
            f"expected models; name the version to serve: {directory.name}={newest}"
        )
        raise ConfigError(text)
    return found


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
        ModelLoadError: It is empty or not what its ending says.
        OSError: It went while it was looked at.
    """
    stored = _saved_model_file(path) if format_ is ModelFormat.SAVED_MODEL else path
    if not stored.is_file():
        text = f"{stored}: expected a regular file, got something else (a device, a pipe or a socket)"
        raise ConfigError(text)
    if not os.access(stored, os.R_OK):
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
    return next(directory / name for name in _SAVED_MODEL_FILES if (directory / name).is_file())


def _check_keras(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            if _KERAS_CONFIG in archive.namelist():
                return
        got = f"a zip file without {_KERAS_CONFIG}"
    except zipfile.BadZipFile:
        got = _beginning(path)
    text = (
        f"{path}: not a whole Keras file: expected a zip file with {_KERAS_CONFIG}, got {got}; "
        "it may be cut short: save the model again or repeat the copy"
    )
    raise ModelLoadError(text)


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
