"""A part of a page that code writes, between two marks; the text around it is written by hand. Any thread."""

from __future__ import annotations


def with_block(text: str, begin: str, end: str, block: str) -> str:
    """Return a page's text with a block between its marks.

    Raises:
        ValueError: The page has not each mark once.
    """
    before, rest = text.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}\n\n{block}\n\n{end}{after}"
