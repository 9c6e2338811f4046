"""The prediction future: the answer to one request of `Client.submit`, once it is here.

Owns what `concurrent.futures.Future` doesn't know: that cancelling tells the server, that no wait is endless, not even
in a process that was forked meanwhile, and that a callback can't end the thread that completes all the others. Any
thread; it is completed on the dispatcher's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, NoReturn

from predictd.in_flight.pending import Pending
from predictd.prediction import Prediction, prediction_of
from predictd.process import Process, this_process
from predictd_proto.errors import DeadlineExceededError, TransportError
from predictd_proto.quantities import seconds_text

if TYPE_CHECKING:
    from predictd.deadline import Deadline
    from predictd.in_flight.dispatcher import Dispatcher
    from predictd.requests.request_frames import Question

#: An answer or an error comes by the deadline. Who still waits after that much more waits in vain.
_GRACE_S = 10.0

#: The states of `Future` in which nothing changes any more.
_OVER = ("FINISHED", "CANCELLED", "CANCELLED_AND_NOTIFIED")


class PredictionFuture(Future[Prediction]):
    """The future answer to one request.

    `cancel` works until the answer has come, also while the server works on it, and tells the server. Callbacks run on
    the dispatcher's thread: a slow one delays the others' answers. In a process that is forked before the answer has
    come the future is over, with a TransportError.

    Args:
        dispatcher: Who completes it.
        question: What is asked.
        deadline: Until when.

    Attributes:
        pending: The request.
    """

    def __init__(self, dispatcher: Dispatcher, question: Question, deadline: Deadline) -> None:
        self._conditions: dict[Process, threading.Condition] = {}
        self._dispatcher = dispatcher
        super().__init__()
        self.pending: Pending = Pending(question, deadline, self._land)

    def __repr__(self) -> str:
        # Without the lock that Future takes for it: whoever looks at one that hangs must not hang too.
        return f"<predictd.PredictionFuture of model {self.pending.question.model!r}, {self._state.lower()}>"

    def __await__(self) -> NoReturn:
        text = "a future of Client.submit can't be awaited: use AsyncClient.predict, or asyncio.wrap_future(future)"
        raise TypeError(text)

    def cancel(self) -> bool:
        """Give the request up; return whether there was no answer yet."""
        try:
            if not super().cancel():
                return False
        except BaseException:
            # Raised by a callback, when it was cancelled already.
            self._dispatcher.cancel(self)
            raise
        self._dispatcher.cancel(self)
        return True

    def add_done_callback(self, fn: Callable[[Future[Prediction]], object]) -> None:
        """Have something called with this future when it is done, as `concurrent.futures.Future.add_done_callback`.

        What it raises is logged, and harms no other future, even if it is a SystemExit.
        """
        dispatcher = self._dispatcher  # not this future: it would hold on to itself, and its arrays

        def call(future: Future[Prediction]) -> None:
            try:
                fn(future)
            except Exception:
                raise  # `Future` logs it
            except BaseException as raised:
                if not dispatcher.is_here:
                    raise  # on the caller's own thread
                text = f"a callback raised {type(raised).__name__}, which does not end the thread behind submit"
                raise RuntimeError(text) from raised

        super().add_done_callback(call)

    def result(self, timeout: float | None = None) -> Prediction:
        """Return the prediction, as `concurrent.futures.Future.result`; a wait without time-out is bounded too.

        Args:
            timeout: How long to wait, in seconds; None for as long as an answer may come.

        Raises:
            PredictdError: As `Client.predict`.
            TimeoutError: There is no answer after `timeout` seconds.
            CancelledError: It was cancelled.
        """
        if timeout is not None or self.done():
            return super().result(timeout)
        deadline = self.pending.deadline
        try:
            return super().result(deadline.remaining_ms / 1000 + _GRACE_S)
        except (TimeoutError, FutureTimeoutError):
            if self.done():
                raise
        text = (
            f"neither an answer nor an error within {seconds_text(deadline.waited_ms)}: the thread that brings them is "
            "held up, probably by a callback (add_done_callback) that waits for something"
        )
        raise DeadlineExceededError(text)

    @property
    def _condition(self) -> threading.Condition:
        """What all that `Future` does begins with: this process's, as an inherited one may be locked for good."""
        process = this_process()
        found = self._conditions.get(process)
        if found is not None:
            return found
        # Not by `set_exception`: those who wait and the callbacks are the other process's.
        if self._state not in _OVER:
            self._exception = TransportError(
                "this future was made in another process, before a fork: its answer comes only there. Submit again here"
            )
            self._state = "FINISHED"
        return self._conditions.setdefault(process, threading.Condition())

    @_condition.setter
    def _condition(self, made: threading.Condition) -> None:
        self._conditions[self._dispatcher.process] = made

    def _land(self, pending: Pending) -> None:
        self._dispatcher.leave(self)
        answer, plan, error = pending.answer, pending.plan, pending.error
        pending.answer = pending.error = None
        if not self.set_running_or_notify_cancel():
            return
        if error is None:
            assert answer is not None, "landed without an answer"
            assert plan is not None, "landed without a plan"
            try:
                prediction = prediction_of(answer, plan)
            except Exception as raised:  # no memory, say: this future's trouble
                error = raised
            else:
                self.set_result(prediction)
                return
        self.set_exception(error)
