"""Chunks scored by Celery's workers: as messages, or on a folder that both sides see.

Owns sending and collecting, and what becomes of chunks whose messages or arrays were lost on the way: they are sent
again. Where rows travel, they do as in any task of predictd: large arrays by the claim store, both ways. The thread
that runs the scoring.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from celery.backends.base import DisabledBackend

from predictd_celery.retries import unacknowledged_s
from predictd_celery.scoring.answers import Answers, stop_at_bad
from predictd_celery.scoring.chunk_task import SCORE_CHUNK, SCORE_QUESTION, answers_of, chunk_of
from predictd_celery.scoring.chunk_work import ChunkWork
from predictd_celery.scoring.outage import AwayError, Outage
from predictd_celery.scoring.polled_tasks import PolledTasks
from predictd_celery.scoring.questions import Question
from predictd_celery.tensor_json import decode_arrays
from predictd_proto.errors import (
    ClaimExpiredError,
    ClaimStoreUnavailableError,
    ConfigError,
    PredictdError,
    ScoreError,
)

#: A chunk of which nothing was heard for so long is sent again: its message went down with the broker. Before that the
#: broker itself hands a killed worker's tasks out again, hence this many times what it takes for that...
RESEND_SHARE = 1.5
#: ... and at most this, where a broker takes its time.
RESEND_AFTER_S = 900.0
#: A chunk may as well wait behind others' tasks, and each message is one more of these.
MOST_RESENDS = 3
#: Without a word from any worker for so long the run ends. Three hours of backlog are not waited for.
SILENCE_S = 3600.0
#: After this the run says what it waits for.
_TELL_S = 60.0
#: A chunk whose arrays or answer were lost so many times ends the run. A claim store that was emptied, or a result
#: backend that was away for longer than workers try to store, costs each chunk under way one.
MOST_LOSSES = 3
#: Between two looks for answers: a look is one GET for each chunk under way.
_LOOK_S, _LONGEST_LOOK_S, _LISTEN_S = 0.01, 0.2, 0.5

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Sent:
    """A chunk under way.

    Attributes:
        work: The chunk.
        results: Celery's, of each message that was sent; whichever comes first counts.
        sent_s: When the last was sent, by the monotonic clock.
        resends: How many times it was sent again because nothing was heard.
        losses: How many times its arrays or its answer were lost and nothing else of it was under way.
        answers: What came of it, where it does not lie on the shared folder.
        error: What it failed with.
    """

    work: ChunkWork
    results: list[Any] = field(default_factory=list)
    sent_s: float = 0.0
    resends: int = 0
    losses: int = 0
    answers: Answers | None = None
    error: Exception | None = None


class CeleryLane:
    """Has chunks scored by an app's workers.

    Args:
        app: The Celery app.
        shared_folder: The workers read and write the files themselves.
        is_stopping: Asked while the first answer is waited for.

    Raises:
        ConfigError: The app has not the tasks, or no result backend.
    """

    #: There may be no worker left; what one still has goes on without the run, and is scored again by the next.
    patience_s = 10.0

    def __init__(self, app: Any, *, shared_folder: bool, is_stopping: Callable[[], bool] = lambda: False) -> None:
        if SCORE_CHUNK not in app.tasks:
            message = "app: expected one with the tasks of bulk scoring: include=['predictd_celery.scoring.chunk_task']"
            raise ConfigError(message)
        if isinstance(app.backend, DisabledBackend):
            message = "app: expected one with a result backend, got none: set result_backend, such as to redis://..."
            raise ConfigError(message)
        self._app = app
        self._is_shared, self._is_stopping = shared_folder, is_stopping
        self._tasks = PolledTasks(app)
        self._claims = Outage("the claim store", (ClaimStoreUnavailableError,))
        self._resend_after_s = min(RESEND_SHARE * unacknowledged_s(app.conf), RESEND_AFTER_S)
        self._heard_s = time.monotonic()

    def question(self, model: str, version: int | str | None, signature: str | None, on_error: str) -> Question:
        """Return what is asked of a model for each chunk, as a worker's daemon has it.

        Raises:
            ScoreError: No worker answered, or the run was stopped before.
        """
        losses = 0
        while True:
            result = self._tasks.send(SCORE_QUESTION, (model, version, signature, on_error), expires=SILENCE_S)
            self._wait_for_worker(result, model)
            try:
                return Question.from_fields(result.get())
            except Exception as error:
                if not self._tasks.is_unstored(error):
                    raise
                losses += 1
                if losses == MOST_LOSSES:
                    message = (
                        f"no worker could store its answer: {type(error).__name__}: {error}; nothing is scored: see "
                        "that the result backend takes writes, and run it again"
                    )
                    raise ScoreError(message) from error
                _log.warning("%s: %s; %s is asked about again", type(error).__name__, error, model)
            finally:
                self._tasks.forget([result])

    def _wait_for_worker(self, result: Any, model: str) -> None:
        began_s, is_told = time.monotonic(), False
        while not self._is_there(result):
            waited_s = time.monotonic() - began_s
            if self._is_stopping():
                message = "stopped: no worker had answered yet, and nothing is scored"
                raise ScoreError(message)
            if waited_s > SILENCE_S:
                message = f"no worker answered within {SILENCE_S:g} s {self._where(model)}"
                raise ScoreError(message)
            if waited_s > _TELL_S and not is_told:
                is_told = True
                _log.warning("no worker has answered for %.0f s %s", waited_s, self._where(model))
            self._tasks.listen(result, _LONGEST_LOOK_S)

    def begin(self, work: ChunkWork) -> Sent:
        """Send a chunk."""
        sent = Sent(work)
        self._send(sent)
        self._heard_s = sent.sent_s
        return sent

    def wait(self, handles: list[Sent]) -> list[Sent]:
        """Wait until something has ended, and take what came of it.

        Raises:
            ScoreError: Nothing was heard of any of them for too long.
        """
        until_s, pause_s = time.monotonic() + _LISTEN_S, _LOOK_S
        while True:
            ended = [sent for sent in handles if self._ends(sent, self._is_over)]
            if ended or time.monotonic() >= until_s:
                break
            self._tasks.listen(handles[0].results[-1], pause_s)
            pause_s = min(2 * pause_s, _LONGEST_LOOK_S)
        now_s = time.monotonic()
        if ended:
            self._heard_s = now_s
        elif now_s - self._heard_s > SILENCE_S:
            first, waited_s = handles[0].work, now_s - handles[0].sent_s
            message = (
                f"nothing was heard of any of {len(handles)} chunks for {SILENCE_S:g} s, of {first.place} since "
                f"{waited_s:.0f} s, from workers {self._where(first.question.model)}; what is done is kept: the same "
                "again goes on"
            )
            raise ScoreError(message)
        silent = (sent for sent in handles if sent not in ended)
        return [*ended, *(sent for sent in silent if self._ends(sent, self._was_written_unheard))]

    def finish(self, handle: Sent) -> None:
        """Keep what came of a chunk, or raise what it failed with."""
        if handle.error is not None:
            raise handle.error
        if handle.answers is not None:
            handle.work.write(handle.answers)

    def settle(self, question: Question) -> None:
        """Each task has checked its daemon's model before it asked."""

    def abandon(self) -> None:
        """Nobody here waits for what is under way."""

    def close(self) -> None:
        """Nothing is held but the app's own connections."""

    def _where(self, model: str) -> str:
        queue = self._app.amqp.router.route({}, SCORE_QUESTION, (model,))["queue"].name
        return (
            f"at {self._app.connection().as_uri()}: busy or missing; expected one for the queue {queue!r}: "
            f"celery -A predictd_celery worker --queues {queue}"
        )

    @staticmethod
    def _ends(sent: Sent, step: Callable[[Sent], bool]) -> bool:
        """Take a step with a chunk; return whether it is over. An error is this one's: others may have answers."""
        try:
            return step(sent)
        except Exception as error:
            sent.error = error
            return True

    def _is_there(self, result: Any) -> bool:
        try:
            return self._tasks.is_over(result)
        except AwayError:
            # An outage has an end of its own.
            self._heard_s = time.monotonic()
            return False

    def _was_written_unheard(self, sent: Sent) -> bool:
        """Look after a chunk of which nothing was heard for long: it may be done, else it is sent again."""
        waited_s = time.monotonic() - sent.sent_s
        if waited_s <= self._resend_after_s or sent.resends == MOST_RESENDS:
            return False
        if self._is_shared and sent.work.answers() is not None:
            self._tasks.forget(sent.results)
            return True
        where = self._where(sent.work.question.model)
        _log.warning("%s: nothing heard for %.0f s; sent again to workers %s", sent.work.place, waited_s, where)
        sent.resends += 1
        self._send(sent)
        return False

    def _is_over(self, sent: Sent) -> bool:
        # One that was sent again may have two answers by now.
        for result in tuple(sent.results):
            if self._is_there(result) and self._is_taken(sent, result):
                self._tasks.forget(sent.results)
                return True
        return False

    def _is_taken(self, sent: Sent, result: Any) -> bool:
        """Take what came of a chunk; return whether that is the end of it."""
        try:
            # It is here now; what it raises is the task's own error.
            answer = result.get()
            if not self._is_shared:
                sent.answers = self._claims.ask(lambda: answers_of(decode_arrays(answer)))
        except AwayError:
            return False
        except Exception as error:
            if isinstance(error, ClaimExpiredError) or self._tasks.is_unstored(error):
                return self._is_over_without(result, sent, error)
            sent.error = self._failure(sent, error)
        return True

    def _is_over_without(self, result: Any, sent: Sent, error: Exception) -> bool:
        """Go on with a chunk whose arrays or answer were lost on the way; return whether it is over nevertheless."""
        self._heard_s = time.monotonic()
        if self._is_shared and sent.work.answers() is not None:
            return True
        sent.results.remove(result)
        self._tasks.forget([result])
        if sent.results:
            # Another message of it is under way, and where that is lost too it is sent again in its time.
            return False
        sent.losses += 1
        if sent.losses == MOST_LOSSES:
            sent.error = self._failure(sent, error)
            return True
        _log.warning("%s: %s: %s; sent again", sent.work.place, type(error).__name__, error)
        self._send(sent)
        return False

    def _failure(self, sent: Sent, error: Exception) -> Exception:
        if isinstance(error, PredictdError):
            return error
        message = (
            f"{sent.work.place}: the task that scores them failed: {type(error).__name__}: {error}; what is done is "
            "kept: the same again goes on with these rows"
        )
        failure = ScoreError(message)
        failure.__cause__ = error
        return failure

    def _send(self, sent: Sent) -> None:
        if self._is_shared:
            args: tuple[Any, ...] = (sent.work.to_fields(),)
        else:
            rows = sent.work.read()
            stop_at_bad(rows.bad, sent.work.question)
            args = (chunk_of(rows, sent.work.question), rows.arrays)
        sent.results.append(self._tasks.send(SCORE_CHUNK, args))
        sent.sent_s = time.monotonic()
