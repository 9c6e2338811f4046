"""Text of others as a terminal or a log may show it.

Owns what becomes of characters that would do something there: begin a line, move the cursor, hide what follows. Any
thread.
"""

from __future__ import annotations


def printable(text: str) -> str:
    """Return a text with its control and format characters as escapes."""
    if text.isprintable():
        return text
    return "".join([each if each.isprintable() else each.encode("unicode_escape").decode() for each in text])
