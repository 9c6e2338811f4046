"""Where the rows of one chunk lie in their file.

Owns `Span`, `Limits`, the cutting of a known number of rows, and what is told of a file that has changed. Any thread.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from predictd_proto.errors import ScoreError

BLOCK_BYTES = 1 << 20
#: Whether a .csv file's first line is a header: as it looks, or as one says.
HEADERS = ("auto", "yes", "no")


@dataclass(frozen=True, slots=True)
class Span:
    """The rows of one chunk.

    Attributes:
        first_row: Of the file's rows, from 0.
        rows: How many.
        offset: Where they begin, in bytes, where the format has such a place.
        byte_count: How long they are there.
        line: The number of the first line, from 1, where there are lines.
        members: Files in a folder, one for each row.
        lead: The folder's first image that opens: where the model leaves the size open, all have its.
        has_header: Whether the file's first line is none of its rows.
    """

    first_row: int
    rows: int
    offset: int = 0
    byte_count: int = 0
    line: int = 0
    members: tuple[str, ...] = ()
    lead: str = ""
    has_header: bool = False

    def to_fields(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Span:
        """Return what `to_fields` was made of."""
        return cls(**{**fields, "members": tuple(fields["members"])})


@dataclass(frozen=True, slots=True)
class Limits:
    """How a file is cut into chunks.

    Attributes:
        rows: How large a chunk may be, in rows.
        byte_count: Likewise in bytes, as they lie in the file; one row is always allowed.
        header: Whether a .csv file's first line is a header: one of `HEADERS`.
    """

    rows: int
    byte_count: int
    header: str = "auto"


@dataclass(frozen=True, slots=True)
class Scan:
    """What one look at a whole file told.

    Attributes:
        sha256: The digest of its content.
        byte_count: Its size.
        spans: Its chunks, in order.
        has_header: Whether its first line is a header; None where the format has none.
    """

    sha256: str
    byte_count: int
    spans: tuple[Span, ...]
    has_header: bool | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A file, or a folder of images, as formats read it.

    Attributes:
        path: Where it is.
        name: As messages call it.
        scratch: The run's own folder, for what must be unpacked before it can be read; gone when the run is over.
    """

    path: str
    name: str
    scratch: str

    def stamp(self) -> tuple[int, int]:
        """Return what tells a file from one that has replaced it, for what is kept in memory of it."""
        stat = Path(self.path).stat()
        return stat.st_mtime_ns, stat.st_size

    def check_rows(self, found: int, span: Span) -> None:
        """Check that a chunk's rows are all there.

        Raises:
            ScoreError: They are not.
        """
        if found != span.rows:
            message = (
                f"{self.path} was changed while it was scored: expected {span.rows} rows from row {span.first_row + 1} "
                f"on, got {found}; run the same again with --rescore-changed"
            )
            raise ScoreError(message)


def even_spans(rows: int, row_bytes: float, limits: Limits) -> tuple[Span, ...]:
    """Cut a number of rows of one size into chunks."""
    step = max(1, min(limits.rows, int(limits.byte_count / max(row_bytes, 1))))
    return tuple(Span(first, min(step, rows - first)) for first in range(0, rows, step))


def digest_of_file(path: Path) -> tuple[str, int]:
    """Return a file's SHA-256 and its size."""
    found, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            found.update(block)
            size += len(block)
    return found.hexdigest(), size
