"""Files of lines: where their chunks begin, and the lines of one chunk.

Owns cutting at line ends and the count of lines. One line is one row; empty lines are none. Any thread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from predictd_celery.scoring.formats.spans import Limits, Scan, Source, Span

_BOM = b"\xef\xbb\xbf"


def scan_lines(source: Source, limits: Limits, is_header: Callable[[bytes], bool] | None = None) -> Scan:
    """Return a file's digest and chunks.

    Args:
        source: The file.
        limits: How large a chunk may be.
        is_header: Whether the first line that is not empty is no row; None where the format has no such line.
    """
    found = hashlib.sha256()
    spans: list[Span] = []
    offset = start = start_line = rows = first_row = 0
    is_first, has_header = is_header is not None, False

    def cut() -> None:
        spans.append(Span(first_row, rows, start, offset - start, start_line, has_header=has_header))

    with Path(source.path).open("rb") as file:
        for number, line in enumerate(file, start=1):
            found.update(line)
            text = line if offset else line.removeprefix(_BOM)
            is_row = bool(text.strip())
            if is_row and is_first and is_header is not None:
                is_first, has_header = False, is_header(text)
                is_row = not has_header
            if is_row:
                is_full = rows >= limits.rows or offset + len(line) - start > limits.byte_count
                if rows and is_full:
                    cut()
                    first_row, rows = first_row + rows, 0
                if not rows:
                    start, start_line = offset, number
                rows += 1
            offset += len(line)
    if rows:
        cut()
    return Scan(found.hexdigest(), offset, tuple(spans), None if is_header is None else has_header)


def lines_of(source: Source, span: Span) -> list[tuple[int, bytes]]:
    """Return a chunk's rows, each with its line's number.

    Raises:
        ScoreError: They are not all there any more.
    """
    with Path(source.path).open("rb") as file:
        file.seek(span.offset)
        content = file.read(span.byte_count)
    if not span.offset:
        content = content.removeprefix(_BOM)
    lines = enumerate(content.split(b"\n"), start=span.line)
    found = [(number, line) for number, line in lines if line.strip()]
    source.check_rows(len(found), span)
    return found


def all_lines(source: Source) -> Iterator[bytes]:
    """Yield a file's lines that are not empty, its header too."""
    with Path(source.path).open("rb") as file:
        for number, line in enumerate(file):
            text = line if number else line.removeprefix(_BOM)
            if text.strip():
                yield text
