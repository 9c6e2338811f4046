"""Checks of message fields; each raises `LocalProtocolError` naming the field, expected and got.

Owns the rules for single values and how a wrong one is shown. It knows no message. Any thread.

The plural forms check several fields in one call: they are on the path of every request.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NoReturn

from predictd_proto.errors import LocalProtocolError
from predictd_proto.limits import MAX_LIST_ITEMS

_SHOWN_CHARACTERS = 60
_SHOWN_INT = 1 << 128
_LONGEST_KEY = 1024


def shown(value: object) -> str:
    """Return a short form of any value for an error's text; never walks into it, as a peer may have nested it deep."""
    if isinstance(value, (str, bytes)):
        dots = "..." if len(value) > _SHOWN_CHARACTERS else ""
        return f"{value[:_SHOWN_CHARACTERS]!r}{dots} ({type(value).__name__})"
    if value is None:
        return "None"
    if isinstance(value, (bool, float)) or (type(value) is int and abs(value) < _SHOWN_INT):
        return f"{value!r} ({type(value).__name__})"
    if isinstance(value, (list, tuple, Mapping)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a value of type {type(value).__name__}"


def refuse(name: str, expected: str, got: object) -> NoReturn:
    """Raise the error for a field that is not as expected.

    Raises:
        LocalProtocolError: Always.
    """
    text = f"field {name}: expected {expected}, got {shown(got)}"
    raise LocalProtocolError(text)


def check_int(name: str, value: object, low: int, high: int) -> None:
    """Check for a whole number within bounds."""
    if type(value) is not int or not low <= value <= high:
        refuse(name, f"a whole number from {low} to {high}", value)


def check_ints(names: tuple[str, ...], values: tuple[object, ...], low: int, high: int) -> None:
    """Check several whole numbers."""
    for value in values:
        if type(value) is not int or not low <= value <= high:
            check_int(_name_of(value, names, values), value, low, high)


def check_number(name: str, value: object) -> None:
    """Check for a finite number that is not negative."""
    if (type(value) is not float and type(value) is not int) or not 0 <= value < math.inf:
        refuse(name, "a finite number of at least 0", value)


def check_numbers(names: tuple[str, ...], values: tuple[object, ...]) -> None:
    """Check several finite numbers that are not negative."""
    for value in values:
        if type(value) is not float or not 0.0 <= value < math.inf:
            check_number(_name_of(value, names, values), value)


def check_text(name: str, value: object, most: int) -> None:
    """Check for text of bounded length that UTF-8 can carry."""
    if type(value) is not str or len(value) > most or not (value.isascii() or _is_utf8(value)):
        refuse(name, f"text of at most {most} characters that UTF-8 can carry", value)


def check_texts(names: tuple[str, ...], values: tuple[object, ...], most: int) -> None:
    """Check several texts."""
    for value in values:
        if type(value) is not str or len(value) > most or not value.isascii():
            check_text(_name_of(value, names, values), value, most)


def check_tuple(name: str, value: object, element: type, most: int) -> None:
    """Check for a tuple of one type and bounded length; True and False are no whole numbers here."""
    if type(value) is not tuple or len(value) > most:
        refuse(name, f"a tuple of at most {most} {element.__name__}", value)
    for item in value:
        if not isinstance(item, element) or type(item) is bool:
            refuse(name, f"a tuple of {element.__name__}", item)


def check_mapping(name: str, value: object) -> Mapping[str, object]:
    """Check for a mapping with text keys, and return it."""
    if not isinstance(value, Mapping) or len(value) > MAX_LIST_ITEMS:
        refuse(name, f"a mapping of at most {MAX_LIST_ITEMS} keys", value)
    for key in value:
        check_text(f"{name}, a key", key, _LONGEST_KEY)
    return value


def check_bool(name: str, value: object) -> None:
    """Check for True or False."""
    if type(value) is not bool:
        refuse(name, "True or False", value)


def _name_of(value: object, names: tuple[str, ...], values: tuple[object, ...]) -> str:
    return next(name for name, item in zip(names, values, strict=True) if item is value)


def _is_utf8(text: str) -> bool:
    """A lone surrogate, as in a file name of undecodable bytes, has no form in UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
