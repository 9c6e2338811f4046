"""A call: one predict request, from the caller's inputs to the server's answer.

Owns the order of things: a connection, the plan, the tensors, the limits, send, receive, outputs; and that the
connection ends well or is abandoned, whatever is raised in between, by a signal too. The caller's thread.
"""

from __future__ import annotations

from predictd.connections.pool import Pool
from predictd.connections.transport import Connection, ConnectionLost
from predictd.deadline import Deadline
from predictd.requests.catalogue import Plan
from predictd.requests.link import Link
from predictd.requests.request_errors import lost, too_late
from predictd.requests.request_frames import Question, answer_of, request_frames
from predictd.requests.stale_plans import MOST_REMAKES, asks_alike, ever_another, is_sure
from predictd_proto.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    PredictdError,
    SegmentRefusedError,
    ServerLostError,
    TensorMismatchError,
)
from predictd_proto.messages import ErrorResponse, PredictResponse
from predictd_proto.tensors import Buffer


class Call:
    """One question, sent once. `begin`, then `finish`; `give_up` where the answer is no longer wanted.

    It is made anew and sent again where it was made for a version that is no longer the one served.

    Args:
        link: Where to ask.
        question: What.
        deadline: Until when.
    """

    __slots__ = ("_connection", "_deadline", "_is_plan_fresh", "_link", "_plan", "_pool", "_question", "_server_id")

    def __init__(self, link: Link, question: Question, deadline: Deadline) -> None:
        self._link = link
        self._question = question
        self._deadline = deadline
        self._pool: Pool = link.pool
        self._connection: Connection | None = None
        self._plan: Plan | None = None
        self._is_plan_fresh = False
        self._server_id = ""

    def begin(self, *, may_wait: bool = True) -> None:
        """Send the request.

        Args:
            may_wait: Wait for another caller's connection where the process has enough of them.

        Raises:
            PredictdError: It was not sent.
        """
        self._connection = self._pool.take()
        if self._connection is not None:
            try:
                self._send(self._connection)
                return
            except ConnectionLost:
                # It has been idle since its server went, and so have the others: that is no loss of this request.
                self.give_up()
                self._pool.close_idle()
        self._connection = self._link.connect(self._pool, self._deadline, self._question.model, may_wait=may_wait)
        try:
            self._send(self._connection)
        except ConnectionLost:
            self.give_up()
            raise self._lost(was_sent=False) from None

    def _send(self, connection: Connection) -> None:
        question, greeting = self._question, connection.greeting
        server_id = self._server_id = greeting.server_id
        key = (question.model, question.version, question.signature)
        request_id = connection.next_id()
        try:
            plan, is_fresh = self._link.plan(server_id, key, self._deadline)
            try:
                frames = self._frames(plan, connection, request_id)
            except TensorMismatchError:
                if is_fresh:
                    raise
                # What is remembered may be an older version than the one served now: look again before refusing.
                self._link.forget(question.model)
                plan, is_fresh = self._link.plan(server_id, key, self._deadline)
                frames = self._frames(plan, connection, request_id)
            self._plan, self._is_plan_fresh = plan, is_fresh
            connection.send(frames, request_id)
        except ConnectionLost:
            raise
        except BaseException:
            self.give_up()
            raise

    def _frames(self, plan: Plan, connection: Connection, request_id: int) -> list[Buffer]:
        limits, remaining_ms = connection.greeting.limits, self._remaining_ms()
        return request_frames(plan, self._question, limits, request_id, remaining_ms, connection.segments)

    def finish(self) -> tuple[PredictResponse, Plan]:
        """Wait for the answer; return it and the plan that reads it.

        Raises:
            PredictdError: There is none, or it is an error.
        """
        remakes = 0
        while True:
            connection = self._connection
            assert connection is not None, "finish without begin"
            try:
                answer = self._answer(connection)
            except ConnectionLost:
                self.give_up()
                raise self._lost(was_sent=True) from None
            except BaseException:
                self.give_up()
                raise
            self._connection = None
            self._pool.give_back(connection)
            plan = self._plan
            assert plan is not None, "finish without begin"
            if isinstance(answer, ErrorResponse):
                self._refused(answer, may_remake=remakes < MOST_REMAKES)
            elif plan.reads(answer, self._question.rows, self._question.shapes):
                return answer, plan
            else:
                reader = self._plan_for(answer, plan)
                if reader is not None:
                    return answer, reader
                if remakes >= MOST_REMAKES:
                    raise ever_another(plan, answer.receipt.version)
            remakes += 1
            # Its caller may hold other calls' connections by now, as in `RoutedCall.begin`.
            self.begin(may_wait=False)

    def give_up(self) -> None:
        """End the connection, telling the server to drop the request, or keep it where nothing was sent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.give_back(connection)

    def _remaining_ms(self) -> float:
        remaining_ms = self._deadline.remaining_ms
        if remaining_ms <= 0:
            raise self._too_late(was_sent=False)
        return remaining_ms

    def _answer(self, connection: Connection) -> PredictResponse | ErrorResponse:
        pending_id = connection.pending_id
        while True:
            frames = connection.receive(self._deadline)
            if frames is None:
                raise self._too_late(was_sent=True)
            answer = answer_of(frames, connection.address, connection.segments)
            answer_id = answer.id
            # An error without id is about a message that the server couldn't read: ours is the only one.
            if answer_id == pending_id or answer_id is None:
                connection.pending_id = None
                return answer

    def _plan_for(self, answer: PredictResponse, plan: Plan) -> Plan | None:
        """Return the plan that reads an answer: a version newer than the one remembered may have given it.

        None where that one takes other inputs, or may do so: the request has to be made anew.
        """
        version = answer.receipt.version
        if version != plan.metadata.version:
            answered_by = self._plan_of_version(version)
            if answered_by is None:
                if not is_sure(plan):
                    self._link.forget(self._question.model)
                    return None
                # Only the nesting of the answer is uncertain, and most versions agree on that.
                answered_by = plan
            elif not asks_alike(plan, answered_by):
                return None
            plan = answered_by
        plan.check(answer, self._question.rows)
        return plan

    def _plan_of_version(self, version: int) -> Plan | None:
        question, link = self._question, self._link
        key = (question.model, version, question.signature)
        deadline = self._deadline.sooner(link.connect_timeout_ms)
        if deadline.is_over or link.was_in_vain(self._server_id, key):
            return None
        try:
            plan, _ = link.plan(self._server_id, key, deadline)
        except PredictdError:
            link.asked_in_vain(self._server_id, key)
            return None
        link.remember(self._server_id, (question.model, question.version, question.signature), plan)
        return plan

    def _refused(self, answer: ErrorResponse, *, may_remake: bool) -> None:
        """Raise what the server refused with; return where that may be otherwise at once.

        That is for a version that is served no longer, and for memory that the server could not map.
        """
        error = answer.error()
        if isinstance(error, InvalidRequestError):
            self._link.forget(self._question.model)
            if isinstance(error, TensorMismatchError) and may_remake and not self._is_plan_fresh:
                return
        if isinstance(error, SegmentRefusedError) and may_remake:
            return
        raise error

    def _too_late(self, *, was_sent: bool) -> DeadlineExceededError:
        return too_late(self._question.model, self._link.endpoint, self._deadline.waited_ms, was_sent=was_sent)

    def _lost(self, *, was_sent: bool) -> ServerLostError:
        return lost(self._question.model, self._link.endpoint, self._deadline.waited_ms, was_sent=was_sent)
