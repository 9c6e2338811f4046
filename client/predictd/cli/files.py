"""Rows read from files and outputs written to them, for the command line.

Owns the formats: .npy, .npz, .json and standard input. Nothing is ever unpickled. Main thread.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from predictd_proto.errors import ConfigError

_NPY_MAGIC = b"\x93NUMPY"
_ZIP_MAGIC = b"PK\x03\x04"

_SUFFIXES = (".npy", ".npz", ".json")


def read_inputs(source: str) -> Any:
    """Return what a file or standard input ("-") holds: arrays, or nested lists and dicts of numbers and texts.

    Raises:
        ConfigError: It can't be read; the text says why.
    """
    name = "standard input" if source == "-" else source
    try:
        content = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        text = f"{name}: {error.strerror}"
        raise ConfigError(text) from error
    try:
        return _parse(content)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        text = f"{name}: expected .npy, .npz (numbers, no objects) or JSON: {error}"
        raise ConfigError(text) from error


def check_output(path: str) -> None:
    """Check the name of a file that outputs are to be written to; nothing is written yet.

    Raises:
        ConfigError: They could not be; the text says why.
    """
    directory = Path(path).parent
    if Path(path).suffix not in _SUFFIXES:
        text = f"--output {path}: expected a name that ends in .npy, .npz or .json"
        raise ConfigError(text)
    if not directory.is_dir():
        text = f"--output {path}: there is no directory {directory}"
        raise ConfigError(text)


def write_outputs(path: str, outputs: Any) -> None:
    """Write outputs to a .npy, .npz or .json file, all of them or, where that fails, nothing.

    Raises:
        ConfigError: They can't be written; the text says why.
    """
    check_output(path)
    target = Path(path).resolve()
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with _removed_after(beside), beside.open("wb") as file:
            _save(file, target.suffix, outputs)
            file.close()
            if target.exists():
                shutil.copymode(target, beside)
            beside.replace(target)
    except (OSError, ValueError) as error:
        text = f"--output {path}: {error}"
        raise ConfigError(text) from error


def to_plain(value: Any) -> Any:
    """Return nests of arrays as lists and dicts that JSON can hold."""
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray) and value.dtype.kind == "c":
        return to_plain(np.stack([value.real, value.imag], axis=-1))
    return to_plain(value.tolist()) if isinstance(value, np.ndarray) else value


def _parse(content: bytes) -> Any:
    if content.startswith(_NPY_MAGIC):
        return np.load(io.BytesIO(content), allow_pickle=False)
    if content.startswith(_ZIP_MAGIC):
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    return json.loads(content)


@contextlib.contextmanager
def _removed_after(path: Path) -> Iterator[None]:
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _save(file: BinaryIO, suffix: str, outputs: Any) -> None:
    if suffix == ".json":
        file.write(json.dumps(to_plain(outputs)).encode())
    elif suffix == ".npz":
        _save_all(file, outputs)
    elif isinstance(outputs, np.ndarray):
        np.save(file, _writable(outputs), allow_pickle=False)
    else:
        text = "the model has several outputs; use .npz or .json"
        raise ValueError(text)


def _save_all(file: BinaryIO, outputs: Any) -> None:
    # Not `np.savez`: it takes the names as keyword arguments, next to some of its own.
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in _named(outputs, "output"):
            if f"{name}.npy" in archive.namelist():
                text = f"two outputs would be {name!r}; use .json"
                raise ValueError(text)
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, _writable(array), allow_pickle=False)


def _named(value: Any, name: str) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        prefix = "" if name == "output" else f"{name}."
        return [pair for key, item in value.items() for pair in _named(item, f"{prefix}{key}")]
    if isinstance(value, list):
        return [pair for position, item in enumerate(value) for pair in _named(item, f"{name}_{position}")]
    return [(name, value)]


def _writable(array: Any) -> Any:
    """Return strings, which are objects in numpy, as fixed-width ones; a file of objects would be a pickle."""
    if array.dtype.kind != "O":
        return array
    if any(item.endswith(b"\0") for item in array.flat):
        text = "there are strings that end in zero bytes, which these files can't hold; use .json"
        raise ValueError(text)
    return array.astype(bytes)
