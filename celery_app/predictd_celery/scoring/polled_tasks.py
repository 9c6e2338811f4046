"""Tasks that are sent, and whose results are looked for: one GET each, and no subscription.

Owns how a chunk's message is sent and its result found. The thread that runs the scoring.

Celery's Redis backend subscribes to each result as it sends the task. Nobody would read that here: Redis keeps the
answers for such a reader until 32 MB are full and hangs up then, each answer goes out twice, and where Redis is away
for longer than the backend's retries the subscription's end is an error that no task of the process survives.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from celery.backends.rpc import RPCBackend
from celery.exceptions import BackendGetMetaError, BackendStoreError
from celery.exceptions import TimeoutError as NoAnswerError
from kombu.exceptions import OperationalError

from predictd_celery.kombu_serializer import CONTENT_TYPE, NAME
from predictd_celery.scoring.outage import AwayError, Outage
from predictd_proto.errors import ClaimStoreUnavailableError, PredictdError, ScoreError

#: What comes after these is the outage's to wait for.
_SENDING = {"max_retries": 5, "interval_start": 0.2, "interval_step": 0.2, "interval_max": 1.0}
#: Among what kombu takes for a lost connection; of a task they may as well be its own, as of a folder that isn't there.
_BROAD = (OSError, KeyError)
#: The backend subscribes to tasks whose result is wanted. To it this one is not; the worker goes by the header.
_UNSUBSCRIBED = {"ignore_result": True, "headers": {"ignore_result": False}}


class PolledTasks:
    """Sends an app's tasks and looks for their results.

    Args:
        app: The Celery app.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        #: Results are messages to this process: there is a queue for them, and whoever waits for one takes in all.
        self._is_rpc = isinstance(app.backend, RPCBackend)
        # Of results that are messages the broker's connection knows what it raises; asking it opens nothing.
        link: Any = app.connection_for_read() if self._is_rpc else app.backend
        errors = [getattr(link, name, ()) for name in ("connection_errors", "channel_errors")]
        away = (OperationalError, BackendGetMetaError, *errors[0], *errors[1])
        narrow = (kind for kind in away if kind not in _BROAD)
        self._unstored: tuple[type[Exception], ...] = (BackendStoreError, ConnectionError, TimeoutError, *narrow)
        self._results = Outage("the result backend", away)
        self._broker = Outage("the broker or the claim store", (*away, ClaimStoreUnavailableError))
        # Its bytes go as they are, where JSON has them in base64, and the message in Redis in base64 again.
        self._serializer = NAME if {NAME, CONTENT_TYPE}.intersection(app.conf.get("accept_content") or ()) else None

    def send(self, name: str, args: tuple[Any, ...], **options: Any) -> Any:
        """Send a task; return its result.

        Raises:
            ScoreError: The broker or the results have been away for too long.
        """
        if not self._is_rpc:
            options.update(_UNSUBSCRIBED)
        if self._serializer is not None:
            options["serializer"] = self._serializer
        task = self._app.tasks[name]
        result = self._broker.wait_for(lambda: task.apply_async(args, retry_policy=_SENDING, **options))
        if self._is_rpc:
            # Not with the sending: that would be done again.
            self._results.wait_for(lambda: self._app.backend.add_pending_result(result))
        result.ignored = False
        return result

    def is_over(self, result: Any) -> bool:
        """Whether a task has ended; `result.get` then has what came of it without asking anybody.

        Raises:
            AwayError: The backend is away.
            ScoreError: It has been for too long.
        """
        return bool(self._results.ask(result.ready))

    def is_unstored(self, error: Exception) -> bool:
        """Whether a task failed, as far as its class tells, because its worker couldn't store the answer.

        A backend that is back when the worker tells it that has the store's error as the task's.
        """
        # Some of ours are kinds of TimeoutError.
        return isinstance(error, self._unstored) and not isinstance(error, PredictdError)

    def listen(self, result: Any, seconds: float) -> None:
        """Let some time pass; take in what comes meanwhile."""
        if not self._is_rpc:
            time.sleep(seconds)
            return
        with suppress(NoAnswerError, AwayError):
            self._results.ask(lambda: result.get(timeout=seconds, propagate=False))

    def forget(self, results: list[Any]) -> None:
        """Delete results: answers are large. A backend that is away has its expiry for that."""
        with suppress(AwayError, ScoreError):
            for result in results:
                self._results.ask(result.forget)
