"""numpy in Celery's own JSON: scalars become Python's numbers, arrays nested lists.

Owns the registration with kombu. Celery's JSON refuses numpy's types without it, at the end of a task that has done its
work. Dict keys are beyond kombu's reach; `ArrayTask` sees to them. Runs once, where a task with arrays is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from kombu.utils.json import register_type

from predictd_celery.claims.claimed_array import ClaimedArray
from predictd_celery.tensor_json import json_claim, plain_numbers


def accept_numpy_in_json() -> None:
    """Let kombu's JSON write numpy's types and claims. Nothing needs to be registered where it is read."""
    # No marker: what is written is plain JSON, which any consumer reads.
    writers: dict[type[Any], Callable[[Any], Any]] = {
        np.generic: plain_numbers,
        np.ndarray: plain_numbers,
        ClaimedArray: json_claim,
    }
    for kind, write in writers.items():
        register_type(kind, None, write)
