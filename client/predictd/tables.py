"""Plain text tables: columns aligned, nothing else.

Owns their looks, for the command line and for `summary`. Any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence


def format_table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    style: Callable[[str], str] = str,
) -> str:
    """Return rows under headers, each column as wide as its widest cell.

    Args:
        headers: One per column.
        rows: One text per column and row.
        right: Headers of columns to align on the right.
        style: What to make of the line of headers (bold, on a terminal).
    """
    widths = [max(len(cell) for cell in column) for column in zip(headers, *rows, strict=True)]
    are_right = [header in right for header in headers]

    def line(cells: Sequence[str]) -> str:
        aligned = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, are_right, strict=True)]
        return "  ".join(aligned).rstrip()

    return "\n".join([style(line(headers)), *[line(row) for row in rows]])
