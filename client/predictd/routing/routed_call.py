"""The routed call: one question until it is answered or there is no point in going on, wherever that takes it.

Owns the order of sending, waiting, failing and sending again. Where to and after which pause is `failover.py`'s, what a
single try does is `call.py`'s. The caller's thread.
"""

from __future__ import annotations

import time

from predictd.deadline import Deadline
from predictd.requests.call import Call
from predictd.requests.catalogue import Plan
from predictd.requests.request_frames import Question
from predictd.routing.failover import Failover
from predictd_proto.errors import PredictdError
from predictd_proto.messages import PredictResponse


class RoutedCall:
    """One question. `begin`, then `finish`; `give_up` where the answer is no longer wanted.

    Args:
        failover: Where to ask.
        question: What.
        deadline: Until when.
    """

    __slots__ = ("_call", "_deadline", "_error", "_failover", "_may_wait", "_question")

    def __init__(self, failover: Failover, question: Question, deadline: Deadline) -> None:
        self._failover = failover
        self._question = question
        self._deadline = deadline
        self._call: Call | None = None
        self._error: PredictdError | None = None
        self._may_wait = True

    def begin(self, *, is_alone: bool) -> None:
        """Send the request, at the first try only: `finish` goes on from a failure that isn't for good.

        Args:
            is_alone: Whether its caller holds no other call's connection: one that does must not wait for others to
                give theirs back, as they might wait for its own.

        Raises:
            PredictdError: It can't be sent, and trying again would not help.
        """
        self._may_wait = is_alone
        try:
            self._send()
        except PredictdError as error:
            if self._failover.is_final(error):
                self._failover.failed(error)
            self._error = error
        except BaseException:
            self.give_up()
            raise
        finally:
            # From here on its caller may hold others.
            self._may_wait = False

    def finish(self) -> tuple[PredictResponse, Plan]:
        """Wait for the answer, asking again where that helps; return it and the plan that reads it.

        Raises:
            PredictdError: There is none, or it is an error.
        """
        try:
            while True:
                if self._error is not None:
                    self._pause_after(self._error)
                try:
                    if self._call is None:
                        self._send()
                    return self._receive()
                except PredictdError as error:
                    self._error = error
        finally:
            # Whatever is raised, by a signal too: it is no longer in progress anywhere.
            self.give_up()

    def go_on_after(self, error: PredictdError) -> tuple[PredictResponse, Plan]:
        """Finish a question whose first try somebody else has made, where there is one endpoint only."""
        self._error = error
        return self.finish()

    def give_up(self) -> None:
        """End it, telling the server to drop the request where it was sent; more than once does no harm."""
        call, self._call = self._call, None
        if call is not None:
            call.give_up()
        self._failover.ended()

    def _send(self) -> None:
        call = Call(self._failover.link(), self._question, self._deadline)
        call.begin(may_wait=self._may_wait)
        self._call = call

    def _receive(self) -> tuple[PredictResponse, Plan]:
        call, self._call = self._call, None
        assert call is not None, "finish without begin"
        answer, plan = call.finish()
        self._failover.answered(answer.receipt)
        return answer, plan

    def _pause_after(self, error: PredictdError) -> None:
        self._error = None
        pause_ms = self._failover.failed(error)
        if pause_ms:
            # Looked up here and not at import: gevent and eventlet replace it later.
            time.sleep(pause_ms / 1000)
