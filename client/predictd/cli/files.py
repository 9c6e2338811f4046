"""Rows read from files and outputs written to them, for the command line.

Owns the formats: .npy, .npz, .json and standard input. Nothing is ever unpickled. Main thread.
"""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from predictd_proto.errors import ConfigError

_NPY_MAGIC = b"\x93NUMPY"
_ZIP_MAGIC = b"PK\x03\x04"


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


def write_outputs(path: str, outputs: Any) -> None:
    """Write outputs to a .npy, .npz or .json file.

    Raises:
        ConfigError: They can't be written; the text says why.
    """
    suffix = Path(path).suffix
    try:
        if suffix == ".json":
            Path(path).write_text(json.dumps(to_plain(outputs)), encoding="utf-8")
        elif suffix in {".npy", ".npz"}:
            with Path(path).open("wb") as file:
                _save(file, suffix, outputs)
        else:
            text = f"--output {path}: expected a name that ends in .npy, .npz or .json"
            raise ConfigError(text)
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


def _save(file: BinaryIO, suffix: str, outputs: Any) -> None:
    if suffix == ".npy":
        if not isinstance(outputs, np.ndarray):
            text = "the model has several outputs; use .npz or .json"
            raise ValueError(text)
        np.save(file, _writable(outputs), allow_pickle=False)
        return
    np.savez(file, **{name: _writable(array) for name, array in _named(outputs, "output")})


def _named(value: Any, name: str) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        prefix = "" if name == "output" else f"{name}."
        return [pair for key, item in value.items() for pair in _named(item, f"{prefix}{key}")]
    if isinstance(value, list):
        return [pair for position, item in enumerate(value) for pair in _named(item, f"{name}_{position}")]
    return [(name, value)]


def _writable(array: Any) -> Any:
    """Return strings, which are objects in numpy, as fixed-width ones; a file of objects would be a pickle."""
    return array.astype(bytes) if array.dtype.kind == "O" else array
