"""Trees: dicts, lists and tuples around arrays and whatever else a message carries.

Owns the one walk for all that is done to their leaves. It knows no leaf. Any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import is_
from types import NoneType
from typing import Any

import numpy as np

from predictd_proto.errors import LocalProtocolError

#: Leaves that nobody wants. An image is some hundred thousand numbers: one look at their types, not one call for each.
_PLAIN = frozenset((bool, float, int, str, NoneType))

DEPTH_TEXT = "some 400 lists and dicts may be inside each other, and no loops"


def map_leaves(value: Any, leaf: Callable[[Any], Any], *, as_json: bool = False) -> Any:
    """Return a tree with other leaves; the same tree, and the same part of it, where no leaf changes.

    Args:
        value: The tree.
        leaf: Returns what stands for a leaf, or the leaf itself. It is asked about dicts too: those that it leaves are
            walked.
        as_json: Return lists for tuples, dicts for other mappings, and keys of Python for those of numpy.

    Raises:
        LocalProtocolError: The tree is a loop, or too deep.
    """
    try:
        return _mapped(value, leaf, as_json)
    except RecursionError as error:
        message = f"arguments or result: too deep: {DEPTH_TEXT}"
        raise LocalProtocolError(message) from error


def _mapped(value: Any, leaf: Callable[[Any], Any], as_json: bool) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is list or kind is tuple:
        return _mapped_items(value, leaf, as_json)
    found = leaf(value)
    if found is not value:
        return found
    # The exact type first: the look at the abstract class takes a microsecond.
    if kind is dict or isinstance(value, Mapping):
        return _mapped_dict(value, leaf, as_json)
    return _mapped_items(value, leaf, as_json) if isinstance(value, (list, tuple)) else value


def _mapped_items(value: Any, leaf: Callable[[Any], Any], as_json: bool) -> Any:
    becomes_list = as_json and type(value) is not list
    if _PLAIN.issuperset(map(type, value)):
        return list(value) if becomes_list else value
    items = [_mapped(item, leaf, as_json) for item in value]
    if not becomes_list and all(map(is_, items, value)):
        return value
    return tuple(items) if isinstance(value, tuple) and not as_json else items


def _mapped_dict(value: Mapping[Any, Any], leaf: Callable[[Any], Any], as_json: bool) -> Any:
    items = [_mapped(item, leaf, as_json) for item in value.values()]
    keys = list(map(_plain_key, value)) if as_json else list(value)
    is_same = all(map(is_, items, value.values())) and all(map(is_, keys, value))
    return value if is_same and (type(value) is dict or not as_json) else dict(zip(keys, items, strict=True))


def _plain_key(key: Any) -> Any:
    # `np.unique` makes such keys; json takes Python's numbers for keys, and asks nobody about others.
    if not isinstance(key, np.generic):
        return key
    plain = key.item()
    if isinstance(plain, np.floating):
        return float(plain)
    return plain if isinstance(plain, (bool, int, float, str)) else str(key)
