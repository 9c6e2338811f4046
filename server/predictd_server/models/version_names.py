"""Names of versions: the whole numbers that directories are called by.

Owns what counts as one and what is said of those that look like one and are not. Any thread.
"""

from __future__ import annotations

import re

#: The wire carries versions in 63 bits.
LARGEST_VERSION = (1 << 63) - 1

VERSION_RULE = "a whole number from 1 on in plain digits, such as 1 or 20260131"

_NUMBER = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
_NUMBER_LIKE = re.compile(r"[vV]?[-+]?\d[\d._]*")


def number_of(name: str) -> int | None:
    """Return the version that a directory's name is; None where it is none."""
    if not _NUMBER.fullmatch(name):
        return None
    number = int(name)
    return number if number <= LARGEST_VERSION else None


def is_number_like(name: str) -> bool:
    """Return whether a name was most likely meant as a version: `v1`, `01`, `-1`, `1.0`, `0`, too many digits."""
    return _NUMBER_LIKE.fullmatch(name) is not None
