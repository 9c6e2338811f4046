"""What a version consists of: its files, how many bytes they are, and what tells one state of them from the next.

Owns the walk over a model's file or directory, links followed. It reads names, sizes and times, and for a digest every
byte. Main thread at the start, the loader thread from then on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from predictd_server.models.files import ModelFile

#: Names that programs give to what they have not finished writing: editors, browsers, rsync, TensorFlow's exporters.
_TEMPORARY_ENDINGS = ("~", ".tmp", ".part", ".partial", ".filepart", ".swp")
_TEMPORARY_BEGINNINGS = (".", "temp-", "tmp-")


def is_temporary(name: str) -> bool:
    """Return whether a name is that of something unfinished or hidden, which is never looked at."""
    return name.startswith(_TEMPORARY_BEGINNINGS) or name.lower().endswith(_TEMPORARY_ENDINGS)


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
    """Return the state of a version's files now: of its numbered directory where it has one. It never raises."""
    return fingerprint_of(file.directory or file.path)


def fingerprint_of(root: Path) -> Fingerprint:
    """Return the state of a file, or of all files in a directory. It never raises."""
    entries = []
    for name, path in files_in(root):
        try:
            about = path.stat()
        except OSError:
            entries.append((name, -1, 0, 0))
        else:
            entries.append((name, about.st_size, about.st_mtime_ns, about.st_ino))
    return Fingerprint(tuple(entries))


def size_bytes(path: Path) -> int:
    """Return how many bytes a file has, or all files in a directory; 0 for what can't be looked at."""
    total = 0
    for _, file in files_in(path):
        try:
            total += file.stat().st_size
        except OSError:
            continue
    return total


def files_in(path: Path) -> list[tuple[str, Path]]:
    """Return the files in a directory by their relative names, in order; a file alone goes by its own.

    Links are followed, as a loader follows them; temporary names are left out.
    """
    if not path.is_dir():
        return [(path.name, path)]
    return sorted((file.relative_to(path).as_posix(), file) for file in _walk(path, frozenset()))


def _walk(directory: Path, above: frozenset[Path]) -> Iterator[Path]:
    here = directory.resolve()
    if here in above:
        return
    try:
        children = list(os.scandir(directory))
    except OSError:
        # What can't be listed counts as one file that can't be looked at, so that it is seen to change.
        yield directory / "?"
        return
    for child in children:
        if is_temporary(child.name):
            continue
        if child.is_dir():
            yield from _walk(directory / child.name, above | {here})
        else:
            yield directory / child.name
