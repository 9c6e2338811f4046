"""Compressed members of archives, unpacked once for all who read their rows.

Owns these files, in the run's own folder: they take as much of the disk as the arrays that the model takes, and go with
the chunks' files when the run is over. Whoever needs one first makes it, in whatever thread, process or host; the
others wait for the lock. A file appears whole, under its name once and for all, also where locks end at a host (some
network file systems): the lock only saves work. Any thread, any process.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from predictd_celery.scoring.formats.spans import BLOCK_BYTES, Source
from predictd_proto.errors import ScoreError

_NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT))


def unpacked(source: Source, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Path:
    """Return a member's content as a file of its own; its checksum was compared.

    Raises:
        ScoreError: It can't be written.
    """
    identity = f"{source.path} {source.stamp()} {info.filename} {info.header_offset} {info.CRC}"
    target = Path(source.scratch, f"{hashlib.sha256(identity.encode('utf-8', 'surrogateescape')).hexdigest()}.npy")
    if not target.exists():
        try:
            with _locked(target.with_suffix(".lock")):
                if not target.exists():
                    _unpack(archive, info, target)
        except OSError as error:
            to_do = "make room there, or save" if error.errno in _NO_ROOM else "run the same again, or save"
            message = (
                f"{source.name}: {info.filename} is compressed and can't be unpacked to {target} ({info.file_size:,} "
                f"bytes): {error.strerror or error}; {to_do} it by np.savez, not compressed"
            )
            raise ScoreError(message) from error
    return target


def _unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> None:
    partial = target.with_suffix(f".{secrets.token_hex(8)}.partial")
    try:
        with archive.open(info) as packed, partial.open("wb") as file:
            shutil.copyfileobj(packed, file, BLOCK_BYTES)
            file.flush()
            # A power cut must not leave the name without the content.
            os.fsync(file.fileno())
        _name(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _name(partial: Path, target: Path) -> None:
    try:
        # Not over one that another host has made meanwhile, and may be reading.
        with suppress(FileExistsError):
            os.link(partial, target)
    except OSError:  # a file system without hard links
        partial.replace(target)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    # Opened anew by each, which keeps threads apart as well as processes.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
