"""The core: frames and the time go in; replies, the next wake-up and the next batch come out.

Owns every rule between a request's arrival and its reply: limits, validation, admission, deadlines, cancel, grouping,
splitting. It does no I/O: no zmq, no threads, no clock, no TensorFlow. Pump thread only; the control thread reads the
plain numbers of `admission` and `counters`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from predictd_proto.errors import OverloadedError, PredictdError
from predictd_proto.frames import decode, encode, request_id_of
from predictd_proto.limits import Limits
from predictd_proto.messages import CancelRequest, ErrorResponse, Hello, PredictRequest
from predictd_proto.tensors import Buffer
from predictd_server.models.registry import Registry
from predictd_server.serving import client_memory, refusals
from predictd_server.serving.admission import Admission
from predictd_server.serving.batch import Batch, Run
from predictd_server.serving.caller_class import CallerClasses
from predictd_server.serving.counters import Counters
from predictd_server.serving.greeting import Greeting
from predictd_server.serving.lanes import Lanes
from predictd_server.serving.open_requests import OpenRequests
from predictd_server.serving.pending import Part, Pending
from predictd_server.serving.replies import (
    empty_response,
    joined_outputs,
    joined_response,
    kept_response,
    response_frames,
    split_run,
)
from predictd_server.serving.request_reader import RequestReader
from predictd_server.serving.response_cache import Key, key_of
from predictd_server.serving.shared_answers import SharedAnswers
from predictd_server.serving.whole_replies import whole_replies

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
        lanes: Where requests wait.
        max_timeout_s: Longest a request may wait, also when its caller would wait longer.
        classes: The classes of callers; None where all are treated alike.

    Attributes:
        shared: Answers that are kept, and requests that share one.
        memory: Maps what clients share.
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
        lanes: Lanes,
        max_timeout_s: float,
        classes: CallerClasses | None = None,
    ) -> None:
        self._registry = registry
        self._greeting = greeting
        self._limits = limits
        self._lanes = lanes
        self._open = OpenRequests()
        self._reader = RequestReader(registry, max_timeout_s, CallerClasses() if classes is None else classes)
        self._generation = registry.generation
        self._swept_s = 0.0
        self.counters = counters
        self.admission = admission
        self.shared = SharedAnswers(registry, self._open, admission, lanes, counters)
        self.memory: client_memory.ClientMemory = client_memory.NoMemory()
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
        known = self._reader.read_known(peer, frames[0], now) if len(frames) == 1 else None
        if known is not None:
            self.counters.requests_total += 1
            try:
                self._enqueue(known)
            except PredictdError as error:
                self._refuse(peer, known.id, error, known)
            return
        try:
            message = decode(frames, self._limits, request_memory=partial(self.memory.view, peer))
        except PredictdError as error:
            self.counters.count_unread(error.code)
            self._answer_error(peer, request_id_of(frames), error)
            return
        if type(message) is PredictRequest:
            self._receive_predict(peer, message, frames, now)
        elif type(message) is CancelRequest:
            self._cancel(peer, message.id)
        elif type(message) is Hello:
            self.replies.append((peer, self._greeting.reply(message, self.is_draining, self.memory.offer(peer))))
        else:
            self.counters.requests_malformed_total += 1
            self._answer_error(peer, getattr(message, "id", None), refusals.misplaced(message))

    def _receive_predict(self, peer: bytes, message: PredictRequest, frames: Sequence[Buffer], now: float) -> None:
        self.counters.requests_total += 1
        request: Pending | None = None
        try:
            request = self._reader.read(peer, message, frames, now)
            request.reply_place = client_memory.reply_place(self.memory, peer, message)
            client_memory.count_inputs(self.counters, message, frames)
            self._enqueue(request)
            if message.segments:
                client_memory.own_integers(request, self._drop)
        except PredictdError as error:
            self._refuse(peer, message.id, error, request)

    def _refuse(self, peer: bytes, request_id: int, error: PredictdError, request: Pending | None) -> None:
        self.counters.count_refusal(error.code)
        if error.code == "overloaded":
            self.admission.refuse(request)
        self._answer_error(peer, request_id, error)

    def _enqueue(self, request: Pending) -> None:
        if self.is_draining:
            raise refusals.draining()
        if self._open.find(request.peer, request.id) is not None:
            raise refusals.id_in_use(request.id)
        if not request.rows:
            self.replies.append((request.peer, empty_response(request)))
            self.counters.requests_ok_total += 1
            return
        key = key_of(client_memory.owned(request)) if request.signature.is_cached else None
        try:
            self._take_in(key, request)
        except OverloadedError:
            # Room that requests hold whose time is up is no reason to refuse one that has time.
            if not self._sweep(request.arrived_s):
                raise
            self._take_in(key, request)

    def _take_in(self, key: Key | None, request: Pending) -> None:
        if key is not None and self._answer_shared(key, request):
            return
        signature = request.signature
        model = self.admission.models.get(signature.model) or self.admission.model(signature)
        rows, most_rows = request.rows, signature.most_counted_rows
        counted_rows = rows if rows <= most_rows else most_rows
        self.admission.admit(model, rows, counted_rows, request.byte_count, request.caller)
        if key is not None:
            self.shared.begin(key, request)
        self._open.add(request)
        self._lanes.add(request)

    def _answer_shared(self, key: Key, request: Pending) -> bool:
        """Answer a request that was asked before, or let it wait for one that is under way; return whether either."""
        outputs = self.shared.find(key, request)
        if outputs is not None:
            self.replies.append((request.peer, kept_response(request, outputs, self.admission.rows)))
            self.counters.requests_ok_total += 1
            return True
        if self.shared.join(key, request):
            self._open.add(request)
            return True
        return False

    def _cancel(self, peer: bytes, request_id: int) -> None:
        request = self._open.find(peer, request_id)
        if request is not None:
            self.counters.requests_cancelled_total += 1
            self._drop(request)

    def forget(self, peer: bytes) -> int:
        """Release what a vanished client has in the queue; return how many requests that were.

        What already runs, runs to its end; its reply finds nobody and is counted as lost.

        Args:
            peer: Routing id of a socket that is no more, and that no other socket will be given.
        """
        count = 0
        for request_id in self._open.ids(peer):
            # Found by its id again: work that was just let go of may have gone over to this one.
            request = self._open.find(peer, request_id)
            if request is not None and request.next_row < request.rows:
                count += 1
                self._drop(request)
        self.counters.requests_released_total += count
        return count

    # --- batches ----------------------------------------------------------------------------------------------------

    def next_batch(self, now: float, beside_s: float | None = None) -> Batch | None:
        """Return a batch to run now, or None; while one runs, one of at most so many seconds to run beside it."""
        if self._generation != self._registry.generation:
            self._see_models()
        batch = self._lanes.take_batch(now, self._expire, is_draining=self.is_draining, beside_s=beside_s)
        if batch is not None:
            self._start(batch, now)
        return batch

    def _see_models(self) -> None:
        """Drop what is remembered of the models as they were: it would keep a replaced one in memory."""
        generation = self._registry.generation
        if self._generation == generation:
            return
        self._reader.forget()
        self._lanes.outdate()
        self.shared.drop_unserved()
        # Last: whoever sees it takes it that nothing here keeps what is gone in memory.
        self._generation = generation

    def next_wakeup(self, beside_s: float | None = None) -> float | None:
        """Return when `next_batch` may have something though nothing arrives (monotonic); None for never."""
        return self._lanes.next_wakeup(beside_s)

    def sweep(self, now: float) -> bool:
        """Answer requests whose time is up while they wait; return whether any was, or would have been just now.

        Cheap enough for every turn of a pump that waits for a long run: it looks at most every `SWEEP_S`.
        """
        self._see_models()
        return self._sweep(now)

    def _sweep(self, now: float) -> bool:
        if now < self._swept_s + SWEEP_S:
            return False
        self._swept_s = now
        before = self.counters.requests_expired_total
        for request in self._lanes.waiting():
            while request.deadline_s <= now and not request.is_over:
                self._expire(now, request)
        for follower in self.shared.overdue(now):
            self._expire(now, follower)
        return self.counters.requests_expired_total > before

    def _expire(self, now: float, request: Pending) -> None:
        self.counters.requests_expired_total += 1
        self._answer_error(request.peer, request.id, refusals.expired(request, now))
        self._drop(request)

    def _start(self, batch: Batch, now: float) -> None:
        batch.signature.open_runs += 1
        self.counters.count_batch(batch.rows, batch.size)
        if batch.signature.is_cached:
            for follower in [late for part in batch.parts for late in self.shared.overdue(now, part.request)]:
                self._expire(now, follower)
        self.admission.begin(batch, now)

    # --- out --------------------------------------------------------------------------------------------------------

    def finish(self, batch: Batch, runs: Sequence[Run]) -> None:
        """Take what came of a batch in, and turn it into replies."""
        batch.signature.open_runs -= 1
        self._lanes.finish(batch, runs)
        if batch.is_searched:
            self.counters.runs_isolating_total += 1
        for run in runs:
            if run.error is not None:
                self._fail(run.parts, run.error)
            else:
                self._reply(batch, run)

    def _fail(self, parts: Sequence[Part], error: PredictdError) -> None:
        for part in parts:
            if part.request.is_over:
                continue
            for request in (*self.shared.fail(part.request), part.request):
                self.counters.requests_failed_total += 1
                self._answer_error(request.peer, request.id, error)
                self._close(request)

    def _reply(self, batch: Batch, run: Run) -> None:
        try:
            whole = whole_replies(run, batch, self.admission.rows)
            requests = split_run(run) if whole is None else []
        except PredictdError as error:
            self._fail(run.parts, error)
            return
        if whole is not None:
            self._answer_whole(whole)
        for request in requests:
            if not request.is_over and request.finished_rows >= request.rows:
                self._answer_joined(request, batch, run)

    def _answer_joined(self, request: Pending, batch: Batch, run: Run) -> None:
        try:
            frames = response_frames(request, batch, run, self.admission.rows)
        except PredictdError as error:
            self._fail([part for part in run.parts if part.request is request], error)
            return
        if request.flight is not None:
            for follower in self.shared.settle(request, joined_outputs(request)):
                self._answer(follower, joined_response(follower, request, batch, run, self.admission.rows))
        self._answer(request, frames)

    def _answer_whole(self, whole: Sequence[tuple[Pending, bytes]]) -> None:
        """Answer requests that ran in one piece and share their answers with nobody: `_answer` of each, in one go."""
        count = byte_count = 0
        replies, remove = self.replies, self._open.remove
        for request, frame in whole:
            if not request.is_over:
                replies.append((request.peer, [frame]))
                request.is_over = True
                remove(request)
                count += 1
                byte_count += request.byte_count
                if request.caller is not None:
                    self.admission.give_back(request)
        self.counters.requests_ok_total += count
        self.admission.finish(byte_count, count)

    def _answer(self, request: Pending, frames: list[Buffer]) -> None:
        self.counters.requests_ok_total += 1
        client_memory.count_outputs(self.counters, request, frames)
        self.replies.append((request.peer, frames))
        self._close(request)

    def fail_message(self, peer: bytes, frames: Sequence[Buffer]) -> None:
        """Answer a message that a fault of ours kept from being taken in."""
        self._answer_error(peer, request_id_of(frames), refusals.fault("taking the message in"))

    def fail_batch(self, batch: Batch) -> None:
        """Answer a batch whose results a fault of ours kept from being taken in."""
        self._fail(batch.parts, refusals.fault("answering"))

    def drain(self) -> None:
        """Refuse new work from now on; what was admitted still runs."""
        self.is_draining = True

    def abandon(self, error: PredictdError) -> None:
        """Answer everything that was admitted and has no answer yet with an error."""
        for request in list(self._open):
            self._answer_error(request.peer, request.id, error)
            self._close(request)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits for a batch."""
        return self._lanes.are_empty

    @property
    def seen_generation(self) -> int:
        """The registry's generation up to which no request for what it no longer holds comes in. Any thread."""
        return self._generation

    @property
    def open_requests(self) -> int:
        """Admitted requests without an answer."""
        return len(self._open)

    @property
    def waiting_requests(self) -> int:
        """Requests that wait for a batch, the rest of those that were cut among them. Any thread."""
        return self._lanes.waiting_requests

    def oldest_arrival(self) -> float | None:
        """Return when the request that has waited longest arrived (monotonic); None when none waits. Any thread."""
        return self._lanes.oldest_arrival()

    def _drop(self, request: Pending) -> None:
        """Close a request that its caller wants no more; another that waits for the same may take its work over."""
        if request.flight is None or not self.shared.hand_over(request):
            self._close(request)

    def _close(self, request: Pending) -> None:
        request.is_over = True
        self._open.remove(request)
        if request.flight is not None:
            self.shared.leave(request)
        self.admission.finish(request.byte_count)
        self.admission.give_back(request)
        if request.lane is not None and request.next_row < request.rows:
            self.admission.drop(request)

    def _answer_error(self, peer: bytes, request_id: int | None, error: PredictdError) -> None:
        self.replies.append((peer, encode(ErrorResponse.from_error(request_id, error))))
