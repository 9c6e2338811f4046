"""The prediction future: the answer to one request of `Client.submit`, once it is here.

Owns what `concurrent.futures.Future` doesn't know: that cancelling tells the server, and that no wait is endless. Any
thread; it is completed on the dispatcher's.
"""

from __future__ import annotations

from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING

from predictd.in_flight.pending import Pending
from predictd.prediction import Prediction, prediction_of
from predictd.wording import seconds_text
from predictd_proto.errors import DeadlineExceededError

if TYPE_CHECKING:
    from predictd.deadline import Deadline
    from predictd.in_flight.dispatcher import Dispatcher
    from predictd.requests.request_frames import Question

#: An answer or an error comes by the deadline. Who still waits after that much more waits in vain.
_GRACE_S = 10.0


class PredictionFuture(Future[Prediction]):
    """The future answer to one request.

    `cancel` works until the answer has come, also while the server works on it, and tells the server. Callbacks run on
    the dispatcher's thread: a slow one delays the others' answers.

    Args:
        dispatcher: Who completes it.
        question: What is asked.
        deadline: Until when.
        has_place: Whether it holds one of the dispatcher's places.

    Attributes:
        pending: The request.
        has_place: Likewise.
    """

    def __init__(self, dispatcher: Dispatcher, question: Question, deadline: Deadline, *, has_place: bool) -> None:
        super().__init__()
        self._dispatcher = dispatcher
        self.has_place = has_place
        self.pending: Pending = Pending(question, deadline, self._land)

    def cancel(self) -> bool:
        """Give the request up; return whether there was no answer yet."""
        if not super().cancel():
            return False
        self._dispatcher.cancel(self)
        return True

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
            f"neither an answer nor an error within {seconds_text(deadline.waited_ms)}: was this future made in "
            "another process, before a fork? It is only completed there; submit again here"
        )
        raise DeadlineExceededError(text)

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
