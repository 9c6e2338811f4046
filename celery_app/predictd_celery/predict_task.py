"""The base of tasks that ask predictd: deadline, caller, retries and readable errors, taken from Celery.

Owns what happens between a task and the client. It creates no socket, thread or context in a worker's parent: the
client connects at its first call, in the process that makes it, and notices a fork by itself. Runs in the thread that
runs the task.
"""

from __future__ import annotations

import random
import time
from datetime import datetime, timezone
from typing import Any, NoReturn

from celery import Task
from celery.signals import celeryd_after_setup

import predictd
from predictd_celery.caller import Caller
from predictd_celery.config import retry_policy
from predictd_celery.deadlines import Deadline, seconds_until, task_deadline
from predictd_celery.worker_limits import keep_worker_limits
from predictd_proto.errors import DeadlineExceededError, PredictdError, RetryableError

celeryd_after_setup.connect(keep_worker_limits)


class PredictTask(Task):  # type: ignore[misc]  # Celery has no types
    """Base of a task that asks predictd.

    A retryable error is retried by Celery with the server's own delay, a permanent one fails the task at once. Either
    comes back through any result backend with its text and its facts.

    Attributes:
        acks_late: A task counts as done when it is: one whose worker dies is handed out again.
        reject_on_worker_lost: The same where only the child died. Predicting twice does no harm, and what a child does
            here can't be what killed it: the model runs elsewhere.
    """

    abstract = True
    acks_late = True
    reject_on_worker_lost = True
    #: Made at import, in the worker's parent; connects to nothing until a child uses it. A subclass may have its own.
    client = predictd.Client()
    retry_policy = retry_policy()

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Note the time: Celery's limits count from here."""
        self.request.started_monotonic_s = time.monotonic()

    def ask(
        self,
        model: str,
        inputs: Any,
        *,
        version: int | str | None = None,
        signature: str | None = None,
        timeout_ms: float | None = None,
        cast: bool = False,
    ) -> predictd.Prediction:
        """Ask for a prediction on this task's behalf, within this task's time.

        Args:
            model: The model's name.
            inputs: Arrays, nested as the model takes them.
            version: A version number, a label, or None for the latest.
            signature: The signature's name; None for the model's default.
            timeout_ms: The most that this call may take; None for the client's time-out. The task's limits hold too.
            cast: Turn inputs of another dtype into the model's, as Keras does.

        Raises:
            celery.exceptions.Retry: The error was retryable, and the task is enqueued again.
            PredictdError: It was permanent, or there have been enough retries.
        """
        bound_ms = self.client.timeout_ms if timeout_ms is None else timeout_ms
        deadline = task_deadline(self, timeout_ms=bound_ms, elapsed_s=self._elapsed_s())
        caller = Caller.from_request(self.request)
        try:
            check_time_left(deadline)
            return self.client.predict(
                model,
                inputs,
                version=version,
                signature=signature,
                timeout_ms=deadline.remaining_ms,
                cast=cast,
                caller_class=caller.caller_class,
                traceparent=caller.traceparent,
                task_id=caller.task_id,
            )
        except PredictdError as error:
            make_readable(error, deadline)
            if isinstance(error, RetryableError):
                self._retry(error)
            raise

    def _elapsed_s(self) -> float:
        started_s = self.request.get("started_monotonic_s")
        return 0.0 if started_s is None else time.monotonic() - started_s

    def _retry(self, error: PredictdError) -> NoReturn:
        """Enqueue the task again; raise the error where that is pointless: no worker, no time, no retries left."""
        request = self.request
        if request.called_directly or request.is_eager:
            # Celery would run the retry here and now, without its delay; the client has done that already.
            raise error
        delay_s = self.retry_policy.delay_s(error, request.retries, random.random())
        remaining_s = seconds_until(request.expires, datetime.now(timezone.utc))
        if remaining_s is not None and remaining_s <= delay_s:
            # Celery would drop it as expired, and the reason with it.
            raise error
        raise self.retry(exc=error, countdown=delay_s, max_retries=self.retry_policy.max_retries)


def check_time_left(deadline: Deadline) -> None:
    """Raise `DeadlineExceededError` where the deadline has passed already."""
    if deadline.remaining_ms <= 0:
        message = "no time left to ask in: nothing was sent"
        raise DeadlineExceededError(message)


def make_readable(error: PredictdError, deadline: Deadline) -> None:
    """Make an error say all it knows, wherever Celery takes it.

    A time-out is told what set the deadline: one of 4.5 s under a limit of 5 s looks like a mistake otherwise. The
    facts go where JSON result backends look: they keep an exception's `args` and nothing else.
    """
    if isinstance(error, DeadlineExceededError):
        error.message += f" (the deadline was set by {deadline.set_by})"
    error.args = (error.message, error.detail)
