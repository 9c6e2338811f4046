"""Future calls: `submit` and `map`, the calls of a client that don't wait for each answer.

Owns which dispatcher takes them: one for each process, made at first use, and another where gevent or eventlet has made
threads into greenlets since: those can't wait for a thread of the system. Any thread.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any

from predictd.in_flight.windows import DEFAULT_WINDOW, check_count
from predictd.process import Process, importing, set_aside, this_process
from predictd.requests.request_frames import Question

if TYPE_CHECKING:
    from concurrent.futures import Future
    from contextlib import AbstractContextManager

    from predictd.in_flight.dispatcher import Dispatcher
    from predictd.prediction import Prediction
    from predictd.routing.asking import Asking

    ThreadKind = Callable[[], int]


class FutureCalls:
    """What `Client` has of them.

    Args:
        asking: How the client asks.
        max_in_flight: How many requests are worked on at once.

    Attributes:
        asking: Likewise.
        max_in_flight: Likewise.

    Raises:
        ConfigError: An argument is wrong.
    """

    def __init__(self, asking: Asking, *, max_in_flight: int) -> None:
        self.asking = asking
        self.max_in_flight: int = check_count("max_in_flight", max_in_flight)
        self._dispatchers: dict[tuple[Process, ThreadKind], Dispatcher] = {}
        self._locks: dict[Process, AbstractContextManager[object]] = {}

    def __del__(self) -> None:
        if sys.is_finalizing():
            return  # its thread stands still already, perhaps with the lock that ending it takes
        # The threads don't hold on to the client: what was submitted is finished, and then they end.
        for (process, _), dispatcher in getattr(self, "_dispatchers", {}).items():
            if process is this_process():
                dispatcher.end()
            else:
                set_aside(dispatcher)

    def submit(  # noqa: PLR0913  (each is a word on the wire)
        self,
        model: str,
        inputs: Any,
        *,
        version: int | str | None = None,
        signature: str | None = None,
        timeout_ms: float | None = None,
        cast: bool = False,
        caller_class: str = "",
        traceparent: str = "",
        task_id: str = "",
        task_name: str = "",
    ) -> Future[Prediction]:
        """Run a model on some rows and return at once, with a future.

        At most `max_in_flight` requests of the client are under way: beyond that `submit` waits, within the call's own
        time. One background thread per client and process serves them all; it is made at the first call, and ends when
        the client is closed or collected and all futures are done. A child process makes its own; its parent's futures
        are completed in the parent only.

        Futures need not be kept: `close`, and so `with Client() as client:`, waits until all are done, each by its
        deadline. A program that just ends waits as long as answers keep coming; after 5 s without one it ends, and
        stderr says how many were not finished. Where a process ends by `os._exit`, as children of `multiprocessing`
        do, nothing waits: close the client there.

        `future.cancel()` works until the answer has come, and tells the server. Callbacks (`add_done_callback`) run on
        the background thread: keep them short, and don't wait for another future in one.

        Args:
            model: The model's name.
            inputs: What `predict` takes. They are read on the background thread, and again when the request is
                repeated: leave them unchanged until the future is done.
            version: As in `predict`, like all that follow.
            signature: Likewise.
            timeout_ms: What it may take from now on, waiting for its turn included, in milliseconds.
            cast: Likewise.
            caller_class: Likewise.
            traceparent: Likewise.
            task_id: Likewise.
            task_name: Likewise.

        Returns:
            A future with what `predict` returns or raises, for wrong inputs too.

        Raises:
            DeadlineExceededError: There was no place among the requests under way until the time was up.
            ConfigError: `timeout_ms` is no time-out, or `model` no text.
        """
        caller = (caller_class, traceparent, task_id, task_name)
        deadline = self.asking.deadline(timeout_ms)
        while True:
            question = Question(model, inputs, version=version, signature=signature, cast=cast, caller=caller)
            future = self._dispatcher().submit(question, deadline)
            if future is not None:
                return future

    def map(  # noqa: PLR0913  (as `submit`)
        self,
        model: str,
        inputs: Iterable[Any],
        *,
        window: int = DEFAULT_WINDOW,
        version: int | str | None = None,
        signature: str | None = None,
        timeout_ms: float | None = None,
        cast: bool = False,
        caller_class: str = "",
        traceparent: str = "",
        task_id: str = "",
        task_name: str = "",
    ) -> Generator[Prediction, None, None]:
        """Run a model on one input after the other, several of them in flight, and yield the answers in order.

            for prediction in client.map("digits", batches):
                ...

        Inputs are taken one by one as there is room, so they may be endless. When the loop over the answers is left,
        by `break` or by an error, what is in flight is cancelled.

        Args:
            model: The model's name.
            inputs: What `predict` takes, again and again. Each is left unchanged until its answer is here.
            window: How many are in flight at most, answers that wait to be taken included.
            version: As in `predict`, like all that follow.
            signature: Likewise.
            timeout_ms: What each of them may take, in milliseconds.
            cast: Likewise.
            caller_class: Likewise.
            traceparent: Likewise.
            task_id: Likewise.
            task_name: Likewise.

        Raises:
            PredictdError: One of them failed: those before it were yielded, those after it are cancelled.
            ConfigError: `window` is no number of requests.
        """
        check_count("window", window)
        words = {
            "version": version,
            "signature": signature,
            "timeout_ms": timeout_ms,
            "cast": cast,
            "caller_class": caller_class,
            "traceparent": traceparent,
            "task_id": task_id,
            "task_name": task_name,
        }
        return self._mapped(model, inputs, window, words)

    def _mapped(
        self, model: str, inputs: Iterable[Any], window: int, words: dict[str, Any]
    ) -> Generator[Prediction, None, None]:
        under_way: deque[Future[Prediction]] = deque()
        source = iter(inputs)
        try:
            while True:
                # What is done is handed out before the next input is asked for: that may take its time.
                while under_way and (len(under_way) >= window or under_way[0].done()):
                    yield _taken(under_way)
                item = next(source, self)
                if item is self:
                    break
                under_way.append(self.submit(model, item, **words))
            while under_way:
                yield _taken(under_way)
        finally:
            for future in under_way:
                future.cancel()

    def close(self) -> None:
        """Wait until all that was submitted is done, end the background thread, and close the idle connections."""
        for dispatcher in self._taken_out():
            dispatcher.close()
        self.asking.close()

    def give_up(self, timeout_s: float) -> None:
        """Cancel all that was submitted, for a process that is told to end at once.

        Args:
            timeout_s: How long to wait, in seconds, until the servers have been told.
        """
        for dispatcher in self._taken_out():
            dispatcher.give_up(timeout_s)

    def _taken_out(self) -> list[Dispatcher]:
        """Return this process's dispatchers, which nothing more is submitted to."""
        with self._lock():
            here = [key for key in self._dispatchers if key[0] is this_process()]
            return [self._dispatchers.pop(key) for key in here]

    def _dispatcher(self) -> Dispatcher:
        # What both libraries replace: the identity of threads.
        key = this_process(), threading.get_ident
        dispatcher = self._dispatchers.get(key)
        if dispatcher is not None and not dispatcher.is_ending:
            return dispatcher
        # Not at import: what futures need takes as long to import as the whole of this package.
        with importing():
            from predictd.in_flight.dispatcher import Dispatcher

        with self._lock():
            dispatcher = self._dispatchers.get(key)
            if dispatcher is None or dispatcher.is_ending:
                asking = self.asking
                dispatcher = Dispatcher(asking.routes, retries=asking.retries, max_in_flight=self.max_in_flight)
                self._dispatchers[key] = dispatcher
        return dispatcher

    def _lock(self) -> AbstractContextManager[object]:
        """Return this process's lock: one that was held during a fork stays locked in the child."""
        process = this_process()
        lock = self._locks.get(process)
        return lock if lock is not None else self._locks.setdefault(process, threading.RLock())


def _taken(under_way: deque[Future[Prediction]]) -> Prediction:
    # Still among them while its answer is awaited: a signal's exception must cancel it too.
    prediction = under_way[0].result()
    under_way.popleft()
    return prediction
