"""Facts: the free-form maps of a message (an error's detail, settings, runtime), JSON-safe by rule.

Owns the check of such a map, and the way from any Python values to one. It knows no message. Any thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np

from predictd_proto.checks import check_int, check_mapping, check_text, refuse
from predictd_proto.limits import MAX_LIST_ITEMS

#: Deeper values are refused: nobody nests facts this far, and a peer must not make us recurse.
MAX_FACTS_DEPTH = 16
MAX_FACT_TEXT = 8192
_MAX_KEY_TEXT = 256
_LOWEST_INT, _HIGHEST_INT = -(1 << 63), (1 << 64) - 1


def check_facts(name: str, value: object, depth: int = 0) -> None:
    """Check for a mapping of JSON's types (non-finite floats too) with text keys.

    Raises:
        LocalProtocolError: It is something else, or nested too deep.
    """
    for key, item in check_mapping(name, value).items():
        _check_fact(f"{name}, {key[:64]!r}", item, depth + 1)


def _check_fact(name: str, value: object, depth: int) -> None:
    if depth > MAX_FACTS_DEPTH:
        refuse(name, f"at most {MAX_FACTS_DEPTH} levels", value)
    if value is None or isinstance(value, (bool, float)):
        return
    if isinstance(value, str):
        check_text(name, str(value), MAX_FACT_TEXT)
    elif isinstance(value, int):
        check_int(name, int(value), _LOWEST_INT, _HIGHEST_INT)
    elif isinstance(value, (list, tuple)):
        if len(value) > MAX_LIST_ITEMS:
            refuse(name, f"a list of at most {MAX_LIST_ITEMS} items", value)
        for item in value:
            _check_fact(name, item, depth + 1)
    elif isinstance(value, Mapping):
        check_facts(name, value, depth)
    else:
        refuse(name, "None, a bool, number, text, list or mapping", value)


def safe_text(text: str, most: int) -> str:
    """Return the text, cut to a length, with what UTF-8 can't carry replaced by question marks."""
    return text[:most].encode("utf-8", "replace").decode()


def safe_facts(facts: Mapping[Any, Any], depth: int = 0) -> dict[str, Any]:
    """Return a mapping that `check_facts` accepts: cut, and with text for what has no form in JSON. Never raises."""
    items = islice(facts.items(), MAX_LIST_ITEMS)
    return {safe_text(_text_of(key), _MAX_KEY_TEXT): _safe_fact(value, depth + 1) for key, value in items}


def _safe_fact(value: object, depth: int) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int) and _LOWEST_INT <= value <= _HIGHEST_INT:
        return int(value)
    if depth < MAX_FACTS_DEPTH and isinstance(value, Mapping):
        return safe_facts(value, depth)
    if depth < MAX_FACTS_DEPTH and isinstance(value, (list, tuple, set, frozenset)):
        return [_safe_fact(item, depth + 1) for item in islice(value, MAX_LIST_ITEMS)]
    return safe_text(_text_of(value), MAX_FACT_TEXT)


def _text_of(value: object) -> str:
    try:
        return str(value)
    except Exception:  # the value's own fault, while an error is being reported: that report must not be lost
        return f"<{type(value).__name__}>"
