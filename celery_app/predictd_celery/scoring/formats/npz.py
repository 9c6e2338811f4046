""".npz: one array for each input, by name; a chunk's rows are read where they lie, never what is before them.

Owns reading them. Nothing is unpickled. Any thread, any process.

An array that is stored as it is lies in the archive like in a .npy file. One that is compressed can only be read from
its beginning: it is unpacked once, into the run's own folder, for all chunks, threads and workers.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from predictd_celery.scoring.formats.shaping import shaped
from predictd_celery.scoring.formats.spans import BLOCK_BYTES, Limits, Scan, Source, Span, digest_of_file, even_spans
from predictd_celery.scoring.formats.unpacking import unpacked
from predictd_celery.scoring.rows import Rows
from predictd_proto.errors import ConfigError, PredictdError
from predictd_proto.tensors import TensorSpec

_SUFFIX = ".npy"
#: A member's own head: its magic, and at its end how long its name and its extra fields are.
_LOCAL_MAGIC = b"PK\x03\x04"
_LOCAL_HEAD = struct.Struct("<4s22xHH")


@dataclass(frozen=True, slots=True)
class _Head:
    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]

    @property
    def row_bytes(self) -> int:
        return prod(self.shape[1:]) * self.dtype.itemsize


def scan(source: Source, limits: Limits) -> Scan:
    """Return a file's digest and chunks.

    Raises:
        ConfigError: It is no such file, holds objects, or arrays of different numbers of rows.
    """
    with _opened(source) as archive:
        heads = {info.filename: _checked_head(archive, info) for info in archive.infolist()}
    counts = {name.removesuffix(_SUFFIX): head.shape[0] for name, head in heads.items()}
    if not counts or len(set(counts.values())) > 1:
        message = f"{source.name}: expected arrays with the same number of rows, got {counts}"
        raise ConfigError(message)
    row_bytes = sum(head.row_bytes for head in heads.values())
    rows = next(iter(counts.values()))
    return Scan(*digest_of_file(Path(source.path)), even_spans(rows, row_bytes, limits))


def read(source: Source, span: Span, specs: Sequence[TensorSpec]) -> Rows:
    """Return the rows of one chunk; an archive of one array needs no name for a model of one input.

    Raises:
        ConfigError: The model's inputs are not all there.
    """
    arrays = {}
    with _opened(source) as archive:
        names = archive.namelist()
        for spec in specs:
            name = names[0] if len(names) == len(specs) == 1 else f"{spec.name}{_SUFFIX}"
            if name not in names:
                held = ", ".join(one.removesuffix(_SUFFIX) for one in names)
                message = f"{source.name}: expected an array {spec.name!r} for the model's input, got {held}"
                raise ConfigError(message)
            array = _rows_of(source, archive, archive.getinfo(name), span)
            arrays[spec.name] = shaped(array, spec, source.name)
    return Rows(span.rows, arrays, (), (source.name, span.first_row))


@contextmanager
def _opened(source: Source) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(source.path) as archive:
            yield archive
    except (OSError, PredictdError):
        raise
    except Exception as error:
        # zipfile, zlib, lzma and the parser of arrays' heads each raise their own.
        message = f"{source.name}: expected a .npz file of numbers: {error}"
        raise ConfigError(message) from error


def _checked_head(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Head:
    with archive.open(info) as file:
        head = _read_head(file, info.filename)
        expected = file.tell() + head.shape[0] * head.row_bytes
        if info.file_size != expected:
            message = f"{info.filename} has {info.file_size} bytes, expected {expected} for {head.shape} {head.dtype}"
            raise ValueError(message)
        if _is_plain(info):
            # To the end, where zipfile compares its checksum: nobody does when rows are read past it.
            while file.read(BLOCK_BYTES):
                pass
    return head


def _read_head(file: IO[bytes], name: str) -> _Head:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    head = _Head(*read(file))
    if head.dtype.hasobject or not head.shape:
        message = f"{name} holds objects, or a single value"
        raise ValueError(message)
    return head


def _rows_of(source: Source, archive: zipfile.ZipFile, info: zipfile.ZipInfo, span: Span) -> NDArray[Any]:
    path = Path(source.path) if _is_plain(info) else unpacked(source, archive, info)
    with path.open("rb") as file:
        if _is_plain(info):
            file.seek(_start_of(file, info))
        head = _read_head(file, info.filename)
        start = file.tell()
        if head.is_fortran:
            # Its rows lie scattered all over it.
            mapped = np.memmap(file, head.dtype, "r", start, head.shape, "F")
            return np.array(mapped[span.first_row : span.first_row + span.rows], order="C")
        file.seek(start + span.first_row * head.row_bytes)
        data = file.read(span.rows * head.row_bytes)
        if head.row_bytes:
            source.check_rows(len(data) // head.row_bytes, span)
        return np.frombuffer(data, head.dtype).reshape(span.rows, *head.shape[1:])


def _is_plain(info: zipfile.ZipInfo) -> bool:
    return info.compress_type == zipfile.ZIP_STORED


def _start_of(file: IO[bytes], info: zipfile.ZipInfo) -> int:
    """Return where a stored member's data begin."""
    file.seek(info.header_offset)
    magic, name_bytes, extra_bytes = _LOCAL_HEAD.unpack(file.read(_LOCAL_HEAD.size))
    if magic != _LOCAL_MAGIC:
        message = f"{info.filename} is not where the archive's list has it"
        raise ValueError(message)
    return info.header_offset + _LOCAL_HEAD.size + int(name_bytes) + int(extra_bytes)
