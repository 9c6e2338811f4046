"""How errors and what callers hand in are put into words.

Owns the few phrases that several modules share. Any thread.
"""

from __future__ import annotations

import re
import reprlib
from types import GeneratorType
from typing import Any

import numpy as np

from predictd_proto.errors import PredictdError


def without_wait(message: str) -> str:
    """Return a text without the time that its one try took, for those that tell the time of all tries."""
    return re.sub(r" within [\d.]+ m?s(?=: )", "", message)


def named(value: Any) -> str:
    """Return what a caller handed in, where something else was expected: short, whatever it is."""
    if isinstance(value, np.ndarray):
        return "a numpy array"
    if isinstance(value, GeneratorType):
        return "a generator"
    if value is None or isinstance(value, (str, bytes, int, float, complex, list, tuple, dict, set, frozenset)):
        return reprlib.repr(value)
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'AEIOaeio' else 'a'} {kind}"


def restated(error: PredictdError, message: str) -> PredictdError:
    """Return an error of the same class and facts with another text."""
    return type(error)(message, error.detail)
