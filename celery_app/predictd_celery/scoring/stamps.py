"""What a file system says of an input, to notice one that is changed while it is scored.

Owns taking and comparing stamps; the digest is of what was read first, and chunks are read later. The thread that runs
the scoring.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from predictd_celery.scoring.formats.spans import Scan, Source


class Stamp(NamedTuple):
    """What changes when a file's content does.

    Not its inode: file systems that make these up as names are looked up (sshfs, rclone, CIFS) give the same file
    another one an hour later.
    """

    byte_count: int
    mtime_ns: int


#: By path within the input; a file's own is "". None for one that is not there, as a link that leads nowhere.
Stamps = dict[str, Stamp | None]
#: Of a file that came after the others' were taken; none has it.
_LATER = Stamp(-1, 0)


def stamps_of(source: Source) -> Stamps:
    """Return the stamps of a file, or of each file in a folder; taken before the input is read."""
    names = _names(Path(source.path)) if Path(source.path).is_dir() else iter([""])
    return {name: _stamp(Path(source.path, name)) for name in names}


def stamps_of_rows(stamps: Stamps, scan: Scan) -> Stamps:
    """Return those of the files that hold rows."""
    members = [name for span in scan.spans for name in span.members]
    return {name: stamps.get(name, _LATER) for name in members or [""]}


def changed_file(source: Source, stamps: Stamps) -> Path | None:
    """Return the first file that is not what it was; None where all are."""
    paths = ((Path(source.path, name), stamp) for name, stamp in stamps.items())
    return next((path for path, stamp in paths if _stamp(path) != stamp), None)


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return Stamp(found.st_size, found.st_mtime_ns)


def _names(folder: Path) -> Iterator[str]:
    for directory, _, names in os.walk(folder):
        base = Path(directory).relative_to(folder)
        yield from ((base / name).as_posix() for name in names)
