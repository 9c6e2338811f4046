"""Arguments as logs, events and Flower show them: an array is its dtype, shape and size, of a long list the beginning.

Owns this one text, which each message carries: 64 numbers in full are another kilobyte of the broker's, and twice as
long in the making. It fetches no claim. Any thread.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from celery.utils.saferepr import saferepr

from predictd_celery.tensor_json import CLAIM, is_claim, is_envelope

#: What Celery itself allows in an event.
MAX_TEXT = 1024
#: Longer lists are cut...
MAX_ITEMS = 16
#: ... after so many.
FIRST_ITEMS = 3
#: Celery shows less. A loop has no end.
MAX_DEPTH = 6


class _Shown:
    """Something whose repr is known."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def short_repr(value: Any) -> str:
    """Return the text of some arguments.

    Args:
        value: Dicts, lists and tuples around arrays, in envelopes or not, and anything else.
    """
    text: str = saferepr(_shown(value), MAX_TEXT)
    return text


def _shown(value: Any, depth: int = 0) -> Any:
    if isinstance(value, np.ndarray):
        return _Shown(f"<{value.dtype}{list(value.shape)} {_size(value.nbytes)}>")
    if is_envelope(value):
        return _Shown(f"<{value['dtype']}{value['shape']}>")
    if is_claim(value):
        return _Shown(f"<claim {str(value[CLAIM])[:120]}>")
    if not isinstance(value, (dict, list, tuple)):
        return value
    return _Shown("...") if depth == MAX_DEPTH else _shown_items(value, depth + 1)


def _shown_items(value: dict[Any, Any] | list[Any] | tuple[Any, ...], depth: int) -> Any:
    if isinstance(value, dict):
        return {key: _shown(item, depth) for key, item in value.items()}
    is_long = len(value) > MAX_ITEMS
    items = [_shown(item, depth) for item in (value[:FIRST_ITEMS] if is_long else value)]
    if is_long:
        items.append(_Shown(f"... {len(value)} in all"))
    return tuple(items) if isinstance(value, tuple) else items


def _size(byte_count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if byte_count >= size:
            return f"{byte_count / size:.1f} {unit}"
    return f"{byte_count} B"
