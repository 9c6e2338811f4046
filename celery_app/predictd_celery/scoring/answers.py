"""Rows -> a model's outputs, by whatever can ask it.

Owns what becomes of rows that a model fails on. It neither reads files nor knows who is asked: a client in a thread
here, a task in a worker there. The thread that scores the chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictd_celery.scoring.questions import Question
from predictd_celery.scoring.rows import BadRow, Rows
from predictd_proto.errors import PredictionError, ScoreError

#: Asks a model about some rows, by input name.
Ask = Callable[[Mapping[str, NDArray[Any]]], Any]


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model said to one chunk.

    Attributes:
        count: Rows in the chunk, bad ones too.
        outputs: For the good rows, by name, in order.
        bad: The others, in order.
    """

    count: int
    outputs: dict[str, NDArray[Any]]
    bad: tuple[BadRow, ...] = ()


def answers_to(rows: Rows, question: Question, ask: Ask) -> Answers:
    """Return a model's answers to the good rows.

    Raises:
        ScoreError: A row is bad, and the run is to stop there; or the model gave no row for each row.
        PredictdError: It could not be asked.
    """
    stop_at_bad(rows.bad, question)
    good = rows.good
    bad = list(rows.bad)
    parts: list[dict[str, NDArray[Any]]] = []
    todo = [(0, len(good))] if good else []
    while todo:
        first, last = todo.pop()
        some = {name: array[first:last] for name, array in rows.arrays.items()}
        try:
            parts.append(_outputs(ask(some), question, last - first))
        except PredictionError as error:
            if question.on_error == "stop":
                place = (
                    rows.place(good[first])
                    if last - first == 1
                    else f"{rows.place(good[first])} and the {last - first - 1} after it"
                )
                message = f"{place}: {error.message}"
                raise PredictionError(message, error.detail) from error
            if last - first == 1:
                bad.append(BadRow(good[first], rows.place(good[first]), error.message))
                continue
            middle = (first + last) // 2
            # A stack: the first half comes next.
            todo += [(middle, last), (first, middle)]
    outputs = {name: _joined([part[name] for part in parts]) for name in question.output_names} if parts else {}
    return Answers(rows.count, outputs, tuple(sorted(bad, key=lambda one: one.row)))


def stop_at_bad(bad: tuple[BadRow, ...], question: Question) -> None:
    """Raise where a bad row is to stop the run."""
    if question.on_error == "stop":
        for first in bad[:1]:
            more = f" (and {len(bad) - 1} more in this chunk)" if len(bad) > 1 else ""
            message = f"{first}{more}; mend it and run the same again, or let --on-error be skip or null"
            raise ScoreError(message)


def _joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _outputs(nested: Any, question: Question, rows: int) -> dict[str, NDArray[Any]]:
    arrays = [np.asarray(array) for array in _leaves(nested)]
    if len(arrays) != len(question.output_names) or any(array.ndim == 0 or len(array) != rows for array in arrays):
        shapes = [list(array.shape) for array in arrays]
        message = (
            f"model {question.model!r} answered {rows} rows with {shapes}: expected one output row for each, in "
            f"each of {', '.join(question.output_names)}; such a model can't be scored in bulk"
        )
        raise ScoreError(message)
    return dict(zip(question.output_names, arrays, strict=True))


def _leaves(nested: Any) -> list[Any]:
    """Return the arrays in the order in which the wire's structures are walked."""
    if isinstance(nested, dict):
        return [leaf for value in nested.values() for leaf in _leaves(value)]
    if isinstance(nested, (list, tuple)):
        return [leaf for value in nested for leaf in _leaves(value)]
    return [nested]
