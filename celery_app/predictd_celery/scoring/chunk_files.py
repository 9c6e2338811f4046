r"""The answers of one chunk as a file: it appears whole, by a rename, or not at all, and says what it belongs to.

Owns the layout, and that nothing else is ever taken for a chunk's answers. Whoever scores the chunk writes it: a thread
of the run, or a worker on a shared folder; two that write the same do no harm. Any thread, any process, any host.

A file that was written is there after any crash of processes. After a power cut those that the system had not yet
brought to the disk may be torn, which their digest tells: a run's own are scored again. To wait for the disk twice for
each chunk, for its content and for its name, takes longer than to score 1,024 rows of a small model. A worker on a
shared folder does wait: its host may go down after the broker has been told that the chunk is done.

    "predictd-chunk 1\\n"   and the SHA-256 of all that follows, as 64 hexadecimal digits and a "\\n"
    uint32                 length of the head in bytes, little-endian
    ...                    the head, JSON: key, rows, bad rows, outputs (name, dtype, shape, bytes)
    ...                    the outputs' data, laid out as on predictd's wire
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import struct
from pathlib import Path
from typing import Any

from predictd_celery.scoring.answers import Answers
from predictd_celery.scoring.rows import BadRow
from predictd_proto.errors import ScoreError
from predictd_proto.tensors import Tensor, check_data

_MAGIC = b"predictd-chunk 1\n"
_DIGEST_CHARS = 64
_LENGTH = struct.Struct("<I")
_START = len(_MAGIC) + _DIGEST_CHARS + 1
PARTIAL = ".partial"
#: The folder of chunks' files within an output folder.
STATE = ".predictd-score"


def chunk_name(key: str) -> str:
    """Return the name of a chunk's file."""
    return f"{key}.chunk"


def write_chunk(path: Path, key: str, answers: Answers, *, is_synced: bool = False) -> None:
    """Write a chunk's answers.

    Args:
        path: Where.
        key: What they are bound to.
        answers: What the model said.
        is_synced: See them on the disk.

    Raises:
        ScoreError: They can't be written.
    """
    tensors = [Tensor.from_array(name, array) for name, array in answers.outputs.items()]
    head = json.dumps(
        {
            "key": key,
            "rows": answers.count,
            "bad": [[one.row, one.where, one.why] for one in answers.bad],
            "outputs": [[one.name, one.dtype, list(one.shape), one.byte_count] for one in tensors],
        }
    ).encode()
    parts = [_LENGTH.pack(len(head)), head, *(one.data for one in tensors)]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    write_whole(path, [_MAGIC, digest.hexdigest().encode(), b"\n", *parts], is_synced=is_synced)


def read_chunk(path: Path, key: str) -> Answers | None:
    """Return a chunk's answers; None where there are none, or those of something else, or not as they were written."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    digest = hashlib.sha256(memoryview(content)[_START:]).hexdigest().encode()
    if content[:_START] != _MAGIC + digest + b"\n":
        return None
    head, start = _head(content)
    if head["key"] != key:
        return None
    outputs = {}
    for name, dtype, shape, byte_count in head["outputs"]:
        tensor = Tensor(name, dtype, tuple(shape), memoryview(content)[start : start + byte_count])
        check_data(tensor)
        outputs[name] = tensor.view()
        start += byte_count
    return Answers(head["rows"], outputs, tuple(BadRow(*one) for one in head["bad"]))


def write_whole(path: Path, parts: list[Any], *, is_synced: bool = True) -> None:
    """Write a file that appears whole.

    Args:
        path: Where.
        parts: Its content.
        is_synced: See it on the disk, its name too.

    Raises:
        ScoreError: It can't be written.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}{PARTIAL}")
    try:
        try:
            with partial.open("xb") as file:
                for part in parts:
                    file.write(part)
                if is_synced:
                    file.flush()
                    os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        if is_synced:
            sync_folder(path.parent)
    except OSError as error:
        message = f"{path} can't be written: {error.strerror}; what is done is kept: make room and run the same again"
        raise ScoreError(message) from error


def sync_folder(folder: Path) -> None:
    """See a folder's names on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _head(content: bytes) -> tuple[dict[str, Any], int]:
    (length,) = _LENGTH.unpack_from(content, _START)
    first = _START + _LENGTH.size
    head: dict[str, Any] = json.loads(content[first : first + length])
    return head, first + length
