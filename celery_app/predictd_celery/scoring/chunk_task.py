"""The tasks of bulk scoring: `predictd.score_chunk` and `predictd.score_question`.

Owns what travels in their messages. Shared tasks, as `predictd_celery.tasks`' are: an app of one's own has them by
`include=["predictd_celery.scoring.chunk_task"]`. Run in the thread that runs the task.
"""

# Celery has no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery import shared_task
from numpy.typing import NDArray

from predictd_celery.base_task import PredictTask
from predictd_celery.claimed_trees import enveloped
from predictd_celery.scoring.answers import Answers, Ask, answers_to
from predictd_celery.scoring.chunk_work import ChunkWork
from predictd_celery.scoring.lanes import TIMEOUT_MS
from predictd_celery.scoring.questions import Question, check_model
from predictd_celery.scoring.rows import BadRow, Rows
from predictd_proto.errors import PredictdError, RetryableError
from predictd_proto.facts import safe_facts

SCORE_CHUNK = "predictd.score_chunk"
SCORE_QUESTION = "predictd.score_question"
#: A daemon that is away is waited for longer than by other tasks: more than five minutes, as a run waits for Redis for
#: three. Each retry is any worker's.
CHUNK_RETRIES = 20


@shared_task(
    name=SCORE_CHUNK, bind=True, base=PredictTask, max_retries=max(CHUNK_RETRIES, PredictTask.max_retries or 0)
)
def score_chunk(self: PredictTask, chunk: dict[str, Any], arrays: dict[str, NDArray[Any]] | None = None) -> Any:
    """Score one chunk.

    Args:
        self: The task.
        chunk: A `ChunkWork`, to be read and written here; or where `arrays` are given, what rows they are.
        arrays: The good rows.

    Returns:
        What `answers_of` opens; None where they were written here.
    """
    if arrays is None:
        with _readable(self):
            work = ChunkWork.from_fields(chunk)
            work.score(_ask(self, work.question), is_synced=True)
        return None
    question = Question.from_fields(chunk["question"])
    with _readable(self):
        answers = answers_to(_rows(chunk, arrays), question, _ask(self, question))
    bad = [[one.row, one.where, one.why] for one in answers.bad]
    return {"count": answers.count, "bad": bad, "outputs": enveloped(answers.outputs)}


@shared_task(name=SCORE_QUESTION, bind=True, base=PredictTask)
def score_question(
    self: PredictTask, model: str, version: int | str | None, signature: str | None, on_error: str
) -> dict[str, Any]:
    """Return what is asked of a model for each chunk, as a worker's daemon has that model."""
    with _readable(self):
        return Question.of(self.client.metadata(model, version), signature, on_error).to_fields()


def chunk_of(rows: Rows, question: Question) -> dict[str, Any]:
    """Return what a message says of rows beside their arrays."""
    bad = [[one.row, one.where, one.why] for one in rows.bad]
    return {"question": question.to_fields(), "count": rows.count, "bad": bad, "where": list(rows.where)}


def answers_of(result: Mapping[str, Any]) -> Answers:
    """Return the answers in a task's opened result."""
    return Answers(result["count"], dict(result["outputs"]), tuple(BadRow(*one) for one in result["bad"]))


def _rows(chunk: Mapping[str, Any], arrays: dict[str, NDArray[Any]]) -> Rows:
    name, first = chunk["where"]
    return Rows(chunk["count"], arrays, tuple(BadRow(*one) for one in chunk["bad"]), (name, first))


def _ask(task: PredictTask, question: Question) -> Ask:
    check_model(question, task.client.metadata(question.model, question.version))

    def ask(inputs: Mapping[str, NDArray[Any]]) -> Any:
        words: dict[str, Any] = {"version": question.version, "signature": question.signature, "cast": True}
        return task.ask(question.model, dict(inputs), timeout_ms=TIMEOUT_MS, **words).outputs

    return ask


class _readable:  # noqa: N801  (a with statement reads as a word)
    """Retries what is worth it, and makes errors say all they know through JSON result backends."""

    def __init__(self, task: PredictTask) -> None:
        self._task = task

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if not isinstance(error, PredictdError):
            return
        # JSON result backends keep an exception's `args` and nothing else.
        error.args = (error.message, safe_facts(error.detail))
        if isinstance(error, RetryableError):
            self._task.retry_later(error)
