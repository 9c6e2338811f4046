"""Waiting until something is so, with an end. Any thread; blocks it."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(is_so: Callable[[], object], timeout_s: float = 60.0, *, what: str = "the awaited state") -> None:
    """Look again and again; fail with what was waited for."""
    end_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < end_s, f"not so after {timeout_s} s: {what}"
        time.sleep(0.01)
