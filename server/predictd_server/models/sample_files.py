"""Sample files: the arrays that lie beside a model's version, golden ones and recorded requests.

Owns where they lie, how they are read (never unpickled, never larger than announced), and the check of an array against
a tensor's spec. What is done with them is `gate.py`'s and `recorded.py`'s. Loader thread; where they lie, any
thread.
"""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from predictd_proto.dtypes import BFLOAT16, NUMPY_DTYPES, STRING
from predictd_proto.errors import ModelLoadError
from predictd_proto.tensors import TensorSpec
from predictd_server.models.files import ModelFile

GOLDEN = "golden.npz"
WARMUP = "warmup.npz"

#: Samples are a few rows, not a data set: all are held in memory.
MOST_BYTES = 64 << 20
MOST_ARRAYS = 256

_ENDING = ".npy"
#: Headers of arrays without named fields are of these versions.
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_PACKINGS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
#: Names and headers, beside the arrays themselves.
_MOST_FILE_BYTES = MOST_BYTES + (1 << 20)


def samples_path(file: ModelFile, name: str) -> Path:
    """Return where a version's samples of a kind lie, whether they do or not.

    In the version's own directory they are called `name`: the one whose name is the version, or a SavedModel's. Beside
    a bare file, which shares its directory with others, they are `STEM.name`.

    Args:
        file: The version.
        name: `GOLDEN` or `WARMUP`.
    """
    if file.directory is not None:
        return file.directory / name
    if file.path.is_dir():
        return file.path / name
    return beside(file.path, name)


def beside(path: Path, name: str) -> Path:
    """Return where the samples of a kind lie that belong to a bare file."""
    return path.with_name(f"{path.stem}.{name}")


def read_samples(path: Path) -> dict[str, NDArray[Any]] | None:
    """Return the arrays of an .npz file by name; None where there is no such file.

    Raises:
        ModelLoadError: It is there and can't be read, holds objects, or more than a few samples.
    """
    if not os.path.lexists(path):
        return None
    if not path.is_file():
        _refuse(path, "expected a regular file, got something else (a directory, a device or a dangling link)")
    try:
        if path.stat().st_size > _MOST_FILE_BYTES:
            _refuse(path, f"expected at most {_MOST_FILE_BYTES >> 20} MiB, got {path.stat().st_size >> 20} MiB")
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_sizes(path, entries)
            return {entry.filename.removesuffix(_ENDING): _read(path, archive, entry) for entry in entries}
    except OSError as error:
        text = f"{path}: can't be read: {error.strerror or error}; give the daemon's user access to it"
        raise ModelLoadError(text) from error
    except ModelLoadError:
        raise
    except Exception as error:  # zip files and numpy's headers, which are Python texts, may be broken in any way
        text = (
            f"{path}: expected a whole .npz file, as numpy.savez writes it; got {type(error).__name__}: {error}; "
            "it may be cut short: write it again"
        )
        raise ModelLoadError(text) from error


def fitted(array: NDArray[Any], spec: TensorSpec, where: str) -> NDArray[Any]:
    """Return an array as its tensor's graph takes it.

    Args:
        array: As it was read. Strings are of fixed width in such files; a bfloat16 may be a float32.
        spec: What it has to be.
        where: File and array, for the error's text.

    Raises:
        ModelLoadError: The dtype or the shape is another.
    """
    same_rank = array.ndim == len(spec.shape)
    if not same_rank or any(want not in (None, have) for want, have in zip(spec.shape, array.shape, strict=True)):
        text = f"{where}: expected {spec}, got the shape {list(array.shape)}; write it with the tensor's own axes"
        raise ModelLoadError(text)
    if spec.dtype == STRING:
        return _strings(array, spec, where)
    if spec.dtype == BFLOAT16:
        return _bfloat16(array, spec, where)
    wanted = NUMPY_DTYPES[spec.dtype].newbyteorder("=")
    if array.dtype.newbyteorder("=") != wanted:
        text = f"{where}: expected {spec}, got {array.dtype}; write it as that: x.astype({spec.dtype!r})"
        raise ModelLoadError(text)
    return np.ascontiguousarray(array, wanted)


def _check_sizes(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    total_bytes = sum(entry.file_size for entry in entries)
    if total_bytes > MOST_BYTES or len(entries) > MOST_ARRAYS:
        _refuse(
            path,
            f"expected at most {MOST_ARRAYS} arrays of {MOST_BYTES >> 20} MiB in all, "
            f"got {len(entries)} of {total_bytes / (1 << 20):.1f} MiB; keep a few samples",
        )


def _read(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[Any]:
    where = f"array {entry.filename.removesuffix(_ENDING)!r}"
    if not entry.filename.endswith(_ENDING):
        _refuse(path, f"holds {entry.filename!r}, which is no array; write the file with numpy.savez")
    if entry.compress_type not in _PACKINGS:
        _refuse(path, f"{where} is packed in a way that numpy doesn't write; write the file with numpy.savez")
    content = io.BytesIO(archive.read(entry))
    version = npy.read_magic(content)
    if version not in _HEADERS:
        _refuse(path, f"{where} has named fields; expected numbers, booleans or strings")
    shape, _, dtype = _HEADERS[version](content)
    if dtype.hasobject:
        _refuse(
            path,
            f"{where} holds Python objects, which would have to be unpickled; "
            "expected numbers, booleans or strings of fixed width: x.astype('S') or x.astype('U')",
        )
    # What numpy allocates goes by the header alone.
    count = 1
    for axis in shape:
        count *= axis
    if count * dtype.itemsize != entry.file_size - content.tell():
        _refuse(path, f"{where} claims the shape {list(shape)}, which its {entry.file_size} bytes are not")
    content.seek(0)
    array: NDArray[Any] = npy.read_array(content, allow_pickle=False)
    return array


def _strings(array: NDArray[Any], spec: TensorSpec, where: str) -> NDArray[Any]:
    if array.dtype.kind == "S":
        return array.astype(object)
    if array.dtype.kind == "U":
        encoded = np.empty(array.shape, object)
        try:
            for index in np.ndindex(array.shape):
                encoded[index] = str(array[index]).encode()
        except UnicodeEncodeError as error:
            text = f"{where}: a text that UTF-8 can't carry: {error}; write it as bytes: x.astype('S')"
            raise ModelLoadError(text) from error
        return encoded
    text = f"{where}: expected {spec}, got {array.dtype}; write it as strings of fixed width: x.astype('S')"
    raise ModelLoadError(text)


def _bfloat16(array: NDArray[Any], spec: TensorSpec, where: str) -> NDArray[Any]:
    import ml_dtypes

    # numpy writes a bfloat16 as two bytes without a meaning.
    if array.dtype == np.dtype("V2"):
        return np.ascontiguousarray(array).view(ml_dtypes.bfloat16)
    if array.dtype.newbyteorder("=") == np.float32:
        return np.ascontiguousarray(array.astype(ml_dtypes.bfloat16))
    text = f"{where}: expected {spec}, got {array.dtype}; write it as float32"
    raise ModelLoadError(text)


def _refuse(path: Path, text: str) -> NoReturn:
    message = f"{path}: {text}"
    raise ModelLoadError(message)
