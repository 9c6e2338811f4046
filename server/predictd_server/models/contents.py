"""What a version consists of: its files, how many bytes they are, and what tells one state of them from the next.

Owns the walk over a model's file or directory, links followed. It reads names, sizes and times, and for a digest every
byte. Main thread at the start, the models thread from then on, the digest the loader thread.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from predictd_server.models.files import ModelFile
from predictd_server.models.sample_files import GOLDEN, WARMUP, beside

_BLOCK_BYTES = 1 << 20

#: Names that programs give to what they have not finished writing: editors, browsers, rsync, TensorFlow's exporters.
_TEMPORARY_ENDINGS = ("~", ".tmp", ".part", ".partial", ".filepart", ".swp")
_TEMPORARY_DIRECTORY = re.compile(r"te?mp-\d+")


def is_temporary(name: str) -> bool:
    """Return whether a name is that of something unfinished or hidden, which is never looked at."""
    if name.startswith(".") or name.lower().endswith(_TEMPORARY_ENDINGS):
        return True
    return _TEMPORARY_DIRECTORY.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """One state of a version's files; equal to another where nothing was written, renamed or linked anew in between.

    Attributes:
        entries: Name, size, time of the last change in nanoseconds and inode of each file, by name; size -1 for what
            can't be looked at.
    """

    entries: tuple[tuple[str, int, int, int], ...]

    @property
    def size_bytes(self) -> int:
        """What all files hold together."""
        return sum(max(size, 0) for _, size, _, _ in self.entries)


def fingerprint(file: ModelFile) -> Fingerprint:
    """Return the state of a version's files now, samples among them. It never raises."""
    return fingerprint_of(file.directory or file.path)


def fingerprint_of(root: Path) -> Fingerprint:
    """Return the state of a file and of the samples beside it, or of all files in a directory. It never raises."""
    is_directory = os.path.isdir(root)  # a Path raises for one in a directory that is closed to us
    entries = []
    for name, path in files_in(root) if is_directory else _with_samples(root):
        if is_directory and any(map(is_temporary, name.split("/"))):
            continue
        try:
            about = os.stat(path)
        except OSError:
            entries.append((name, -1, 0, 0))
        else:
            entries.append((name, about.st_size, about.st_mtime_ns, about.st_ino))
    return Fingerprint(tuple(entries))


def _with_samples(file: Path) -> list[tuple[str, str]]:
    samples = (beside(file, name) for name in (GOLDEN, WARMUP))
    return [(path.name, str(path)) for path in (file, *samples) if path == file or os.path.lexists(path)]


def size_bytes(path: Path) -> int:
    """Return how many bytes a file has, or all files in a directory; 0 for what can't be looked at."""
    total = 0
    for _, file in files_in(path):
        try:
            total += os.stat(file).st_size
        except OSError:
            continue
    return total


def digest_of(path: Path) -> str:
    """Return "sha256:..." of a file's bytes, or of a directory's files with their relative names, in sorted order.

    Raises:
        OSError: Something in it can't be read.
    """
    digest = hashlib.sha256()
    if not path.is_dir():
        _feed(digest, str(path))
        return f"sha256:{digest.hexdigest()}"
    for name, file in files_in(path):
        # Name and size keep files apart: moving bytes from one to the next is another tree.
        digest.update(f"{name}\0{os.stat(file).st_size}\0".encode("utf-8", "surrogateescape"))
        _feed(digest, file)
    return f"sha256:{digest.hexdigest()}"


def files_in(path: Path) -> list[tuple[str, str]]:
    """Return the names and paths of all regular files in a directory, in order; a file alone goes by its own name.

    Names are relative to the directory, with slashes. Links are followed, as a loader follows them.
    """
    if not os.path.isdir(path):
        return [(path.name, str(path))]
    return sorted(_walk(str(path), "", frozenset()))


def _feed(digest: hashlib._Hash, path: str) -> None:
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)


def _walk(directory: str, prefix: str, above: frozenset[str]) -> Iterator[tuple[str, str]]:
    # Texts instead of Paths, which double the time of a look: a watched repository is walked again and again.
    here = os.path.realpath(directory)
    if here in above:
        # A link to a directory that holds it.
        return
    try:
        children = list(os.scandir(directory))
    except OSError:
        # What can't be listed counts as a file that can't be read, so that nothing passes for what it isn't.
        yield f"{prefix}?", f"{directory}/?"
        return
    for child in children:
        try:
            is_directory, is_file = child.is_dir(), child.is_file()
        except OSError:
            is_directory, is_file = False, True
        if is_directory:
            yield from _walk(child.path, f"{prefix}{child.name}/", above | {here})
        elif is_file:
            yield f"{prefix}{child.name}", child.path
