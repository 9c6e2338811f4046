"""The base of tasks that ask predictd: deadline, caller, retries and readable errors, taken from Celery.

Owns what happens between a task and the client. It creates no socket, thread or context in a worker's parent: the
client connects at its first call, in the process that makes it, and notices a fork by itself. Runs in the thread that
runs the task.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from celery.signals import celeryd_after_setup

import predictd
from predictd.deadline import check_timeout_ms
from predictd_celery.array_task import ArrayTask
from predictd_celery.caller import caller_words
from predictd_celery.deadlines import AppBounds, Deadline, task_deadline
from predictd_celery.item_answers import Outcome, ask_each, error_facts
from predictd_celery.last_word import say_last_word
from predictd_celery.shared_pages import share_pages
from predictd_celery.tensorflow_guard import GUARD
from predictd_celery.worker_limits import keep_worker_limits
from predictd_proto.errors import DeadlineExceededError, PredictdError, RetryableError, ServerUnavailableError
from predictd_proto.facts import safe_facts

_PLAIN = frozenset((bool, float, int, str, type(None)))

celeryd_after_setup.connect(keep_worker_limits)
celeryd_after_setup.connect(share_pages)
GUARD.install()


class PredictTask(ArrayTask):
    """Base of a task that asks predictd.

    A retryable error is retried by Celery with the server's own delay, a permanent one fails the task at once. Either
    comes back through any result backend with its text and its facts.

    One of the two repeats, never both. In a worker it is Celery: a child that waited for a busy daemon would be taken
    from other tasks, and eleven attempts of a client that repeats for 30 s each would be minutes of asking. Where a
    task is called as a function, or eagerly, Celery can't wait, and the client repeats within the call's time.

    Attributes:
        acks_late: A task counts as done when it is: one whose worker dies is handed out again.
        retry_on_worker_lost: The same where only the child died, which counts as a retry: with `max_retries=0` the
            first lost child fails the task. One that has cost three children fails in any case (`lost_children.py`):
            what kills them may be its own.
        lost_child_delay_s: How long it waits then, in seconds.
        reject_on_worker_lost: Off, whatever the app says: it would hand such a task out for ever.
        predictd_model: The model that it asks, where that is always the same; `ModelQueues` reads it.
        client: Made at import, in the worker's parent; connects to nothing until a child uses it. A subclass may have
            its own.
    """

    abstract = True
    acks_late = True
    retry_on_worker_lost = True
    lost_child_delay_s: float = 1
    reject_on_worker_lost = False
    Request = "predictd_celery.lost_children:MortalRequest"
    predictd_model: str | None = None
    client = predictd.Client()
    _app_bounds: AppBounds | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task, and note the time: Celery's limits count from here."""
        request: Any = self.request
        if not request.called_directly:
            # Not by `before_start`, which a task may have for itself; and of calls inside of calls the first one holds.
            vars(request).setdefault("started_monotonic_s", time.monotonic())
        return super().__call__(*args, **kwargs)

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
            timeout_ms: The most that this call may take; None for what the task's own `client` says, else the app's
                setting `predictd_timeout_ms`, else 30 s. The task's limits hold too.
            cast: Turn inputs of another dtype into the model's, as Keras does.

        Raises:
            celery.exceptions.Retry: The error was retryable, and the task is enqueued again.
            PredictdError: It was permanent, or there have been enough retries.
        """
        request = self.request
        deadline = self._deadline(request, timeout_ms)
        words = self._words(request, version, signature, cast=cast)
        is_here = request.called_directly or request.is_eager
        client = self.client if is_here else self.client.without_retries()
        try:
            check_time_left(deadline)
            return client.predict(model, inputs, timeout_ms=deadline.remaining_ms, **words)
        except SystemExit:
            say_last_word(self.client)
            raise
        except PredictdError as error:
            make_readable(error, deadline)
            if isinstance(error, RetryableError):
                self.retry_later(error)
            raise

    def ask_many(
        self,
        model: str,
        inputs: Iterable[Any],
        *,
        version: int | str | None = None,
        signature: str | None = None,
        timeout_ms: float | None = None,
        cast: bool = False,
    ) -> list[Outcome]:
        """Ask for many predictions at once; the daemon merges them into batches.

        Here the client repeats what is worth repeating: a retry by Celery would ask again for what was answered.

        Args:
            model: The model's name.
            inputs: What `ask` takes, again and again.
            version: As in `ask`, like all that follow.
            signature: Likewise.
            timeout_ms: Likewise, for all of them together.
            cast: Likewise.

        Returns:
            For each of the inputs its prediction, or the error that it failed with.

        Raises:
            celery.exceptions.Retry: Nobody answered at the endpoint at all, and the task is enqueued again.
            ServerUnavailableError: So it was, and there have been enough retries.
        """
        request = self.request
        deadline = self._deadline(request, timeout_ms)
        words = self._words(request, version, signature, cast=cast)
        try:
            check_time_left(deadline)
            outcomes = ask_each(self.client, model, inputs, timeout_ms=deadline.remaining_ms, words=words)
        except SystemExit:
            say_last_word(self.client)
            raise
        except PredictdError as error:
            make_readable(error, deadline)
            raise
        failed = [outcome for outcome in outcomes if isinstance(outcome, PredictdError)]
        for one in failed:
            make_readable(one, deadline)
        # Where nobody was there in the first place the client has not repeated anything.
        if failed and len(failed) == len(outcomes) and all(isinstance(one, ServerUnavailableError) for one in failed):
            self.retry_later(failed[0])
        return outcomes

    def deadline(self, timeout_ms: float | None = None) -> Deadline:
        """Return when an answer is of no more use to this task.

        Args:
            timeout_ms: What the call may take in any case, in milliseconds; None for the task's own, else the app's.

        Raises:
            ConfigError: It is no number of milliseconds.
        """
        return self._deadline(self.request, timeout_ms)

    def unpacked(self, value: Any) -> Any:
        """Return what is stored of a `Prediction`, its outputs, and of an error among the answers of `ask_many`."""
        if isinstance(value, PredictdError):
            return {"error": error_facts(value)}
        return value.outputs if isinstance(value, predictd.Prediction) else value

    def _deadline(self, request: Any, timeout_ms: float | None) -> Deadline:
        bounds = self._bounds(request)
        if timeout_ms is not None:
            timeout_ms = check_timeout_ms("timeout_ms", timeout_ms)
        elif self.client is not PredictTask.client or bounds.timeout_ms is None:
            timeout_ms = self.client.timeout_ms
        else:
            timeout_ms = bounds.timeout_ms
        started_s = request.get("started_monotonic_s")
        elapsed_s = 0.0 if started_s is None else time.monotonic() - started_s
        return task_deadline(self, request, bounds, timeout_ms=timeout_ms, elapsed_s=elapsed_s)

    def _bounds(self, request: Any) -> AppBounds:
        """Return its app's bounds, which don't change any more once a worker runs its tasks."""
        if request.called_directly or request.is_eager:
            return AppBounds.of(self.app.conf)
        if self._app_bounds is None:
            self._app_bounds = AppBounds.of(self.app.conf)
        return self._app_bounds

    def _words(self, request: Any, version: int | str | None, signature: str | None, *, cast: bool) -> dict[str, Any]:
        """Return what all questions of this task have in common."""
        return {"version": version, "signature": signature, "cast": cast, **caller_words(self.name, request)}


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
    error.args = (error.message, safe_facts(error.detail))
