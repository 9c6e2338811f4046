"""One class's part of one model's queue: how much of it waits, and what became of it.

Owns the numbers of one class of callers at one model; what they mean for a request is `admission.py`'s. Its share of
the model's time is `account.py`'s. Pump thread only; any thread reads single numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

from predictd_server.serving.caller_class import CallerClass


@dataclass(slots=True, eq=False)
class ClassQueue:
    """What waits for one model, of one class of callers.

    Attributes:
        caller: The class.
        kept_rows: Rows of the model's queue that no other class may take.
        rows: Rows of it that wait; of a request that will be cut, no more than its signature says.
        requests_total: Requests that were admitted.
        rows_total: Rows that batches took.
        refused_total: Requests that there was no room for.
        queue_s: Seconds that requests waited until their first batch, all together.
        ran_s: Seconds that the engine has spent on it.
    """

    caller: CallerClass
    kept_rows: int = 0
    rows: int = 0
    requests_total: int = 0
    rows_total: int = 0
    refused_total: int = 0
    queue_s: float = 0.0
    ran_s: float = 0.0
