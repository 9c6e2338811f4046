"""Who gets a task's result as an argument: the next tasks of its chain, its callbacks, its chord's body.

Owns reading their names out of a Celery request. It asks nobody. Runs in the thread that runs the task.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def successors(request: Any) -> set[str]:
    """Return the names of the tasks that take the result of a task.

    Args:
        request: The task's Celery request.
    """
    signatures = [*(request.chain or ())[-1:], *(request.callbacks or ()), *([request.chord] if request.chord else ())]
    return {name for signature in signatures for name in _takers(signature)}


def _takers(signature: Mapping[str, Any]) -> Iterator[str]:
    # Those that Celery itself puts together hold others; which, it says in their arguments.
    kind = signature.get("subtask_type")
    words = signature.get("kwargs") or {}
    if signature.get("immutable"):
        return
    if kind == "chain":
        inner = words["tasks"][:1]
    elif kind == "group":
        inner = words["tasks"]
    elif kind == "chord":
        header = words["header"]
        inner = [header] if isinstance(header, Mapping) else header
    else:
        yield str(signature["task"])
        return
    for one in inner:
        yield from _takers(one)
