"""The core: frames and the time go in; replies, the next wake-up and the next batch come out.

Owns every rule between a request's arrival and its reply: limits, validation, admission, deadlines, cancel, grouping,
splitting. It does no I/O: no zmq, no threads, no clock, no TensorFlow. Pump thread only; the control thread reads the
plain numbers of `admission` and `counters`.
"""

from __future__ import annotations

from collections.abc import Sequence

from predictd_proto.errors import (
    ExpiredInQueueError,
    InternalServerError,
    OverloadedError,
    PredictdError,
    ProtocolError,
    RemoteProtocolError,
    ServerDrainingError,
)
from predictd_proto.frames import decode, encode, request_id_of
from predictd_proto.limits import Limits
from predictd_proto.messages import CancelRequest, ErrorResponse, Hello, Message, PredictRequest
from predictd_proto.request_template import RequestTemplates
from predictd_proto.tensors import Buffer, Tensor
from predictd_server.admission import Admission
from predictd_server.batch import Batch, Run
from predictd_server.counters import Counters
from predictd_server.greeting import Greeting
from predictd_server.lanes import Lanes
from predictd_server.pending import Part, Pending
from predictd_server.registry import Registry
from predictd_server.replies import empty_response, response_frames, split_run
from predictd_server.whole_replies import whole_replies

Reply = tuple[bytes, list[Buffer]]

#: Expired requests are looked for this often at most: a full queue takes 2 ms to walk.
SWEEP_S = 0.1


class Core:
    """All rules of serving, without I/O.

    Args:
        registry: Finds what serves a request.
        greeting: Answers the handshake.
        counters: Where totals are counted.
        limits: What one message may hold.
        admission: Bounds on what waits.
        max_timeout_s: Longest a request may wait, also when its caller would wait longer.
        window_s: Batch window.
        max_batch_bytes: Bound on a batch's inputs.

    Attributes:
        replies: What to send; the pump takes them out.
        is_draining: Whether new work is refused.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        greeting: Greeting,
        counters: Counters,
        limits: Limits,
        admission: Admission,
        max_timeout_s: float,
        window_s: float,
        max_batch_bytes: int,
    ) -> None:
        self._registry = registry
        self._greeting = greeting
        self._limits = limits
        self._max_timeout_s = max_timeout_s
        self._lanes = Lanes(window_s=window_s, max_batch_bytes=max_batch_bytes)
        self._open: dict[bytes, dict[int, Pending]] = {}
        self._templates = RequestTemplates()
        self._generation = registry.generation
        self._swept_s = 0.0
        self.counters = counters
        self.admission = admission
        self.replies: list[Reply] = []
        self.is_draining = False

    # --- in ---------------------------------------------------------------------------------------------------------

    def receive(self, peer: bytes, frames: Sequence[Buffer], now: float) -> None:
        """Take one message in.

        Args:
            peer: Routing id of the socket it came from.
            frames: The message, without routing id; kept until the request is answered.
            now: The time (monotonic).
        """
        if len(frames) == 1 and self._receive_known(peer, frames[0], now):
            return
        try:
            message = decode(frames, self._limits)
        except PredictdError as error:
            self.counters.requests_malformed_total += 1
            self._answer_error(peer, request_id_of(frames), error)
            return
        if type(message) is PredictRequest:
            self._receive_predict(peer, message, frames, now)
        elif type(message) is CancelRequest:
            self._cancel(peer, message.id)
        elif type(message) is Hello:
            self._answer_hello(peer, message)
        else:
            self.counters.requests_malformed_total += 1
            self._answer_error(peer, getattr(message, "id", None), _misplaced(message))

    def _receive_known(self, peer: bytes, frame: Buffer, now: float) -> bool:
        """Take a request in by what is known of its kind; return whether it could be."""
        found = self._templates.recognise(frame) if type(frame) is bytes else None
        if found is None:
            return False
        known, request_id, timeout_ms, data = found
        if known.resolved is None or known.resolved[0] != self._registry.generation:
            return False
        _, signature, rows = known.resolved
        first = known.request.tensors[0]
        tensor = Tensor(first.name, first.dtype, first.shape, data)
        self.counters.requests_total += 1
        deadline_s = now + min(self._max_timeout_s, timeout_ms / 1000)
        self._admit(Pending(peer, request_id, signature, (tensor,), rows, len(data), now, deadline_s))
        return True

    def _receive_predict(self, peer: bytes, message: PredictRequest, frames: Sequence[Buffer], now: float) -> None:
        self.counters.requests_total += 1
        try:
            generation = self._registry.generation
            signature = self._registry.find(message.model, message.version, message.signature)
            tensors, rows = signature.check(message.tensors)
        except PredictdError as error:
            self._refuse(peer, message.id, error)
            return
        if len(frames) == 1 and rows and type(frames[0]) is bytes:
            known = self._templates.remember(frames[0], message)
            if known is not None:
                known.resolved = (generation, signature, rows)
        timeout_s = self._max_timeout_s
        if message.timeout_ms is not None:
            timeout_s = min(timeout_s, message.timeout_ms / 1000)
        byte_count = sum([len(tensor.data) for tensor in tensors])
        self._admit(Pending(peer, message.id, signature, tensors, rows, byte_count, now, now + timeout_s))

    def _admit(self, request: Pending) -> None:
        try:
            self._enqueue(request)
        except PredictdError as error:
            self._refuse(request.peer, request.id, error)

    def _refuse(self, peer: bytes, request_id: int, error: PredictdError) -> None:
        if error.code == "overloaded":
            self.counters.requests_overloaded_total += 1
        else:
            self.counters.requests_refused_total += 1
        self._answer_error(peer, request_id, error)

    def _enqueue(self, request: Pending) -> None:
        if self.is_draining:
            text = "the server is shutting down and takes no more work; try again when it is back"
            raise ServerDrainingError(text)
        mine = self._open.get(request.peer)
        if mine is not None and request.id in mine:
            text = f"request id {request.id} is already in use on this connection; give each request one of its own"
            raise RemoteProtocolError(text)
        if not request.rows:
            self.replies.append((request.peer, empty_response(request)))
            self.counters.requests_ok_total += 1
            return
        try:
            self.admission.admit(request.rows, request.counted_rows, request.byte_count)
        except OverloadedError:
            # Room that requests hold whose time is up is no reason to refuse one that has time.
            if not self.sweep(request.arrived_s):
                raise
            self.admission.admit(request.rows, request.counted_rows, request.byte_count)
        # Looked up again: the sweep may have ended the last of them.
        self._open.setdefault(request.peer, {})[request.id] = request
        self._lanes.add(request)

    def _cancel(self, peer: bytes, request_id: int) -> None:
        request = self._open.get(peer, {}).get(request_id)
        if request is not None:
            self.counters.requests_cancelled_total += 1
            self._close(request)

    def forget(self, peer: bytes) -> int:
        """Release what a vanished client has in the queue; return how many requests that were.

        What already runs, runs to its end; its reply finds nobody and is counted as lost.

        Args:
            peer: Routing id of a socket that is no more, and that no other socket will be given.
        """
        queued = [request for request in self._open.get(peer, {}).values() if request.next_row < request.rows]
        self.counters.requests_released_total += len(queued)
        for request in queued:
            self._close(request)
        return len(queued)

    # --- batches ----------------------------------------------------------------------------------------------------

    def next_batch(self, now: float) -> Batch | None:
        """Return a batch to run now, or None. Call it only while nothing runs."""
        if self._generation != self._registry.generation:
            self._let_go_of_models()
        batch = self._lanes.take_batch(now, self._expire, is_draining=self.is_draining)
        if batch is not None:
            self._start(batch, now)
        return batch

    def _let_go_of_models(self) -> None:
        """Drop what is remembered of the models as they were: it would keep a replaced one in memory."""
        self._generation = self._registry.generation
        self._templates = RequestTemplates()
        self._lanes.outdate()

    def next_wakeup(self) -> float | None:
        """Return when `next_batch` may have something though nothing arrives (monotonic); None for never."""
        return self._lanes.next_wakeup()

    def sweep(self, now: float) -> bool:
        """Answer requests whose time is up while they wait; return whether any was, or would have been just now.

        Cheap enough for every turn of a pump that waits for a long run: it looks at most every `SWEEP_S`.
        """
        if now < self._swept_s + SWEEP_S:
            return False
        self._swept_s = now
        before = self.counters.requests_expired_total
        for request in self._lanes.waiting():
            if request.deadline_s <= now:
                self._expire(now, request)
        return self.counters.requests_expired_total > before

    def _expire(self, now: float, request: Pending) -> None:
        self.counters.requests_expired_total += 1
        waited_ms = (now - request.arrived_s) * 1000
        text = (
            f"{request.signature}: the request's time was up after {waited_ms:.0f} ms in the queue; it did not run. "
            "Give it more time (timeout_ms), or ask for less at once"
        )
        self._answer_error(request.peer, request.id, ExpiredInQueueError(text))
        self._close(request)

    def _start(self, batch: Batch, now: float) -> None:
        counted_rows = batch.rows
        most_rows = batch.signature.most_rows
        self.counters.batches_total += 1
        self.counters.rows_total += batch.rows
        self.counters.padding_rows_total += batch.size - batch.rows
        for part in batch.parts:
            request = part.request
            # All that was not a run was waiting, between the batches of a request that was cut too.
            request.queue_s = now - request.arrived_s - request.ran_s if request.batches else now - request.arrived_s
            request.batches += 1
            if request.rows > most_rows:
                # Its next rows count in the place of these.
                counted_rows += request.uncounted_rows(part.rows) - part.rows
        self.admission.start(batch.rows, counted_rows)

    # --- out --------------------------------------------------------------------------------------------------------

    def finish(self, batch: Batch, runs: Sequence[Run]) -> None:
        """Take what came of a batch in, and turn it into replies."""
        for run in runs:
            if run.error is not None:
                self._fail(run.parts, run.error)
                continue
            self.admission.observe(run.rows, run.assemble_s + run.execute_s)
            self._reply(batch, run)

    def _fail(self, parts: Sequence[Part], error: PredictdError) -> None:
        for part in parts:
            if not part.request.is_over:
                self.counters.requests_failed_total += 1
                self._answer_error(part.request.peer, part.request.id, error)
                self._close(part.request)

    def _reply(self, batch: Batch, run: Run) -> None:
        try:
            whole = whole_replies(run, batch, self.admission.rows)
            requests = split_run(run) if whole is None else []
        except PredictdError as error:
            self._fail(run.parts, error)
            return
        for request, frame in whole or ():
            if not request.is_over:
                self._answer(request, [frame])
        for request in requests:
            if not request.is_over and request.finished_rows >= request.rows:
                self._answer_joined(request, batch, run)

    def _answer_joined(self, request: Pending, batch: Batch, run: Run) -> None:
        try:
            frames = response_frames(request, batch, run, self.admission.rows)
        except PredictdError as error:
            self._fail([part for part in run.parts if part.request is request], error)
            return
        self._answer(request, frames)

    def _answer(self, request: Pending, frames: list[Buffer]) -> None:
        self.counters.requests_ok_total += 1
        self.replies.append((request.peer, frames))
        self._close(request)

    def fail_message(self, peer: bytes, frames: Sequence[Buffer]) -> None:
        """Answer a message that a fault of ours kept from being taken in."""
        self._answer_error(peer, request_id_of(frames), _fault())

    def fail_batch(self, batch: Batch) -> None:
        """Answer a batch whose results a fault of ours kept from being taken in."""
        self._fail(batch.parts, _fault())

    def drain(self) -> None:
        """Refuse new work from now on; what was admitted still runs."""
        self.is_draining = True

    def abandon(self, error: PredictdError) -> None:
        """Answer everything that was admitted and has no answer yet with an error."""
        for request in [request for mine in self._open.values() for request in mine.values()]:
            self._answer_error(request.peer, request.id, error)
            self._close(request)

    @property
    def open_requests(self) -> int:
        """Admitted requests without an answer."""
        return sum(map(len, self._open.values()))

    @property
    def waiting_requests(self) -> int:
        """Requests that wait for a batch, the rest of those that were cut among them. Any thread."""
        return self._lanes.waiting_requests

    def oldest_arrival(self) -> float | None:
        """Return when the request that has waited longest arrived (monotonic); None when none waits. Any thread."""
        return self._lanes.oldest_arrival()

    def _close(self, request: Pending) -> None:
        request.is_over = True
        mine = self._open[request.peer]
        del mine[request.id]
        if not mine:
            del self._open[request.peer]
        self.admission.finish(request.byte_count)
        if request.lane is not None and request.next_row < request.rows:
            counted_rows = request.counted_rows
            self.admission.start(request.lane.release(request), counted_rows)

    def _answer_hello(self, peer: bytes, hello: Hello) -> None:
        try:
            self.replies.append((peer, encode(self._greeting.answer(hello, is_draining=self.is_draining))))
        except ProtocolError as error:
            self._answer_error(peer, None, error)

    def _answer_error(self, peer: bytes, request_id: int | None, error: PredictdError) -> None:
        self.replies.append((peer, encode(ErrorResponse.from_error(request_id, error))))


def _fault() -> InternalServerError:
    text = "a fault in the server; its log has the details. Report it with them, and restart the server if it stays"
    return InternalServerError(text)


def _misplaced(message: Message) -> RemoteProtocolError:
    text = (
        f"a {type(message).__name__} does not belong on the data socket; "
        "status and metadata are asked for on the control socket"
    )
    return RemoteProtocolError(text)
