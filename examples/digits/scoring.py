"""Ask for digits through Celery, and time it.

Owns the questions, the clock and the comparison with what the trained network itself said. It starts no process and
prints nothing. Main thread.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from celery import Celery
from numpy.typing import NDArray

#: Nothing here takes a tenth of it; without a bound a broken worker would leave the demo waiting.
ANSWER_TIMEOUT_S = 60
WITH_RECEIPT = "examples.digits.measured_tasks.recognise_with_receipt"
NOTHING = "examples.digits.measured_tasks.nothing"
RECOGNISE = "examples.digits.tasks.recognise"


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Digits that the network never saw.

    Attributes:
        images: `float32[digits, 8, 8, 1]`, and as Celery's JSON carries each of them.
        labels: What was written.
        scores: What the trained network said in its own process, `float32[digits, 10]`.
    """

    images: list[Any]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]

    @classmethod
    def load(cls, path: Path) -> HeldOut:
        """Read what `train.py` wrote."""
        with np.load(path) as arrays:
            return cls(arrays["images"].tolist(), arrays["labels"], arrays["scores"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long some tasks took.

    Attributes:
        tasks: How many.
        elapsed_s: From the first one's enqueueing to the last one's answer.
        each_ms: Milliseconds of each, where that was measured.
    """

    tasks: int
    elapsed_s: float
    each_ms: Sequence[float] = ()

    @property
    def per_second(self) -> float:
        """Tasks per second."""
        return self.tasks / self.elapsed_s

    def percentile_ms(self, percent: float) -> float:
        """Return the milliseconds that this share of the tasks stayed within."""
        return float(np.percentile(self.each_ms, percent))


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How the answers compare with the truth and with the network's own.

    Attributes:
        digits: How many were asked.
        correct: How many were read as what was written.
        correct_locally: The same for the network in its own process.
        same: How many answers are the very digit that the network itself gives.
        largest_difference: The largest difference of any score from the network's own.
    """

    digits: int
    correct: int
    correct_locally: int
    same: int
    largest_difference: float


def run_at_once(
    app: Celery, task: str, images: Sequence[Any], queue: str, on_answer: Callable[[], None]
) -> tuple[list[Any], float]:
    """Enqueue one task per image, all at once, and return their answers and the seconds that took."""
    started_s = time.perf_counter()
    pending = [app.send_task(task, (image,), queue=queue) for image in images]
    answers = []
    for result in pending:
        answers.append(result.get(timeout=ANSWER_TIMEOUT_S))
        on_answer()
    return answers, time.perf_counter() - started_s


def run_one_by_one(
    app: Celery, task: str, images: Iterable[Any], queue: str, on_answer: Callable[[], None]
) -> tuple[list[Any], Timing]:
    """Enqueue a task, wait for its answer, and only then the next: what one caller sees of an idle worker."""
    answers, each_ms = [], []
    for image in images:
        started_s = time.perf_counter()
        answers.append(app.send_task(task, (image,), queue=queue).get(timeout=ANSWER_TIMEOUT_S))
        each_ms.append((time.perf_counter() - started_s) * 1000)
        on_answer()
    return answers, Timing(tasks=len(answers), elapsed_s=sum(each_ms) / 1000, each_ms=each_ms)


def compare(scores: NDArray[np.floating[Any]], held_out: HeldOut) -> Agreement:
    """Compare scores that came through Celery with the truth and the network's own.

    Args:
        scores: `float[digits, 10]`.
        held_out: The truth and the network's own scores.
    """
    digits, own_digits = scores.argmax(axis=1), held_out.scores.argmax(axis=1)
    return Agreement(
        digits=len(scores),
        correct=int((digits == held_out.labels).sum()),
        correct_locally=int((own_digits == held_out.labels).sum()),
        same=int((digits == own_digits).sum()),
        largest_difference=float(np.abs(scores - held_out.scores).max()),
    )


def batch_rows(answers: Iterable[dict[str, Any]]) -> Counter[int]:
    """Return how many requests were in a batch of each size, by their receipts."""
    return Counter(answer["batch_rows"] for answer in answers)
