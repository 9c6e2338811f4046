"""A call: one predict request, from the caller's inputs to the server's answer.

Owns the order of things: a connection, the plan, the tensors, the limits, send, receive, outputs; and that the
connection ends well or is abandoned, whatever is raised in between, by a signal too. The caller's thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from predictd.catalogue import Plan, unexpected_outputs
from predictd.connecting import read_message
from predictd.deadline import Deadline
from predictd.fitting import fit_inputs
from predictd.link import Link
from predictd.pool import Pool
from predictd.structure_match import match_inputs
from predictd.transport import Connection, ConnectionLost
from predictd.wording import restated, seconds_text
from predictd_proto.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    PredictdError,
    RemoteProtocolError,
    RequestTooLargeError,
    ServerLostError,
    TensorMismatchError,
)
from predictd_proto.frames import check_size, encode
from predictd_proto.limits import Limits
from predictd_proto.messages import ErrorResponse, PredictRequest, PredictResponse
from predictd_proto.tensors import Buffer, Tensor


class Question:
    """What is asked; the same for every repetition.

    Attributes:
        model: The model's name.
        inputs: What the caller handed in; with `is_matched`, one value per input of the signature.
        version: A version number, a label, or None for the latest.
        signature: The signature's name; None for the model's default.
        cast: Cast inputs of another dtype.
        is_lenient: Keras' leniency in nesting and rank.
        is_matched: See `inputs`.
        caller: caller_class, traceparent and task_id, as they travel.
    """

    __slots__ = ("caller", "cast", "inputs", "is_lenient", "is_matched", "model", "signature", "version")

    def __init__(
        self,
        model: str,
        inputs: Any,
        *,
        version: int | str | None = None,
        signature: str | None = None,
        cast: bool = False,
        is_lenient: bool = False,
        is_matched: bool = False,
        caller: tuple[str, str, str] = ("", "", ""),
    ) -> None:
        self.model = model
        self.inputs = inputs
        self.version = version
        self.signature = signature
        self.cast = cast
        self.is_lenient = is_lenient
        self.is_matched = is_matched
        self.caller = caller


class Call:
    """One question, sent once. `begin`, then `finish`; `give_up` where the answer is no longer wanted.

    Args:
        link: Where to ask.
        question: What.
        deadline: Until when.
    """

    __slots__ = ("_connection", "_deadline", "_link", "_plan", "_pool", "_question", "_server_id")

    def __init__(self, link: Link, question: Question, deadline: Deadline) -> None:
        self._link = link
        self._question = question
        self._deadline = deadline
        self._pool: Pool = link.pool
        self._connection: Connection | None = None
        self._plan: Plan | None = None
        self._server_id = ""

    def begin(self) -> None:
        """Send the request.

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
        self._connection = self._link.connect(self._pool, self._deadline, self._question.model)
        try:
            self._send(self._connection)
        except ConnectionLost:
            self.give_up()
            raise self._lost(was_sent=False) from None

    def _send(self, connection: Connection) -> None:
        try:
            frames, request_id = self._frames(connection)
            connection.send(frames, request_id)
        except ConnectionLost:
            raise
        except BaseException:
            self.give_up()
            raise

    def finish(self) -> tuple[PredictResponse, Plan]:
        """Wait for the answer; return it and the plan that reads it.

        Raises:
            PredictdError: There is none, or it is an error.
        """
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
        if isinstance(answer, ErrorResponse):
            raise self._refused(answer)
        return answer, self._plan_for(answer)

    def give_up(self) -> None:
        """End the connection, telling the server to drop the request, or keep it where nothing was sent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.give_back(connection)

    def _frames(self, connection: Connection) -> tuple[list[Buffer], int]:
        question = self._question
        tensors = self._tensors(connection)
        limits = connection.greeting.limits
        _check_tensors(limits, tensors)
        caller_class, traceparent, task_id = question.caller
        request_id = connection.next_id()
        request = PredictRequest(
            id=request_id,
            model=question.model,
            tensors=tensors,
            version=question.version,
            signature=question.signature,
            timeout_ms=self._remaining_ms(),
            caller_class=caller_class,
            traceparent=traceparent,
            task_id=task_id,
        )
        frames = encode(request)
        check_size(frames, limits)
        return frames, request_id

    def _remaining_ms(self) -> float:
        remaining_ms = self._deadline.remaining_ms
        if remaining_ms <= 0:
            raise self._too_late(was_sent=False)
        return remaining_ms

    def _tensors(self, connection: Connection) -> tuple[Tensor, ...]:
        question = self._question
        key = (question.model, question.version, question.signature)
        server_id = self._server_id = connection.greeting.server_id
        plan, is_fresh = self._link.plan(server_id, key, self._deadline)
        self._plan = plan
        try:
            return _fitted(plan, question)
        except TensorMismatchError:
            if is_fresh:
                raise
        # What is remembered may be an older version than the one served now: look again before refusing.
        self._link.forget(question.model)
        self._plan, _ = self._link.plan(server_id, key, self._deadline)
        return _fitted(self._plan, question)

    def _answer(self, connection: Connection) -> PredictResponse | ErrorResponse:
        pending_id = connection.pending_id
        while True:
            frames = connection.receive(self._deadline)
            if frames is None:
                raise self._too_late(was_sent=True)
            answer = read_message(frames, connection.address)
            if isinstance(answer, (PredictResponse, ErrorResponse)):
                # An error without id is about a message that the server couldn't read: ours is the only one.
                if answer.id == pending_id or answer.id is None:
                    connection.pending_id = None
                    return answer
                continue
            text = f"server at {connection.address}: expected an answer, got a {type(answer).__name__}"
            raise RemoteProtocolError(text)

    def _plan_for(self, answer: PredictResponse) -> Plan:
        """Return the plan that reads an answer: a version newer than the one remembered may have given it."""
        plan = self._plan
        assert plan is not None, "finish without begin"
        if answer.receipt.version != plan.metadata.version:
            plan = self._plan_of_version(plan, answer.receipt.version)
        if not plan.fits(answer.tensors):
            raise unexpected_outputs(plan, answer.tensors)
        return plan

    def _plan_of_version(self, remembered: Plan, version: int) -> Plan:
        question, link = self._question, self._link
        try:
            key = (question.model, version, question.signature)
            plan, _ = link.plan(self._server_id, key, Deadline(link.connect_timeout_ms))
        except PredictdError:
            # The answer is here; only its nesting is uncertain, and most versions agree on that.
            return remembered
        link.remember(self._server_id, (question.model, question.version, question.signature), plan)
        return plan

    def _refused(self, answer: ErrorResponse) -> PredictdError:
        error = answer.error()
        if isinstance(error, InvalidRequestError):
            self._link.forget(self._question.model)
        return error

    def _too_late(self, *, was_sent: bool) -> DeadlineExceededError:
        state = "waiting" if was_sent else "preparing"
        waited = seconds_text(self._deadline.waited_ms)
        text = f"model {self._question.model!r} at {self._link.endpoint}: time-out after {waited}, {_STATES[state]}"
        return DeadlineExceededError(text, {"endpoint": str(self._link.endpoint), "state": state})

    def _lost(self, *, was_sent: bool) -> ServerLostError:
        when = "with the request; whether it ran is unknown" if was_sent else "before the request was sent"
        waited = seconds_text(self._deadline.waited_ms)
        text = (
            f"model {self._question.model!r} at {self._link.endpoint}: the server went away {when} "
            f"(after {waited}). It was killed, crashed, ran out of memory or was restarted: its log says which"
        )
        return ServerLostError(text, {"endpoint": str(self._link.endpoint), "was_sent": was_sent})


def _fitted(plan: Plan, question: Question) -> tuple[Tensor, ...]:
    values = question.inputs
    if not question.is_matched:
        try:
            values = match_inputs(plan.spec, values, is_lenient=question.is_lenient)
        except TensorMismatchError as error:
            raise restated(error, f"{plan.label}, {error.message}") from error
    return fit_inputs(plan.label, plan.spec.inputs, values, cast=question.cast, is_lenient=question.is_lenient)


def _check_tensors(limits: Limits, tensors: Sequence[Tensor]) -> None:
    if len(tensors) > limits.max_tensors:
        text = f"a request of {len(tensors)} tensors; the server takes max_tensors = {limits.max_tensors}"
        raise RequestTooLargeError(text)
    for tensor in tensors:
        shape = tensor.shape
        if len(shape) > limits.max_rank:
            text = f"input {tensor.name!r}: rank {len(shape)}; the server takes max_rank = {limits.max_rank}"
            raise RequestTooLargeError(text)
        if shape and shape[0] > limits.max_rows:
            text = f"input {tensor.name!r}: {shape[0]} rows; the server takes max_rows = {limits.max_rows}. {_ADVICE}"
            raise RequestTooLargeError(text, {"max_rows": limits.max_rows})


_STATES = {
    "preparing": "before the request was sent; nothing ran",
    "waiting": "connected, but no answer came: the server is busy, stuck or stopped (see `predictd status`)",
}
_ADVICE = "Send fewer rows at a time (RemoteModel.predict does that by itself), or raise the limit on the server"
