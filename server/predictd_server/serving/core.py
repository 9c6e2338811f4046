"""The core: frames and the time go in; replies, the next wake-up and the next batch come out.

Owns every rule between a request's arrival and its reply: limits, validation, admission, deadlines, cancel, grouping,
splitting. It does no I/O: no zmq, no threads, no clock, no TensorFlow. Pump thread only; the control thread reads the
plain numbers of `admission` and `counters`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from predictd_proto.errors import PredictdError
from predictd_proto.frames import decode, request_id_of
from predictd_proto.limits import Limits
from predictd_proto.messages import CancelRequest, Hello, PredictRequest
from predictd_proto.tensors import Buffer
from predictd_server.models.registry import Registry
from predictd_server.serving import client_memory, refusals
from predictd_server.serving.admission import Admission, QueueFullError
from predictd_server.serving.answers import Answers, Reply
from predictd_server.serving.batch import CACHE, JOINED, Batch, Run
from predictd_server.serving.counters import Counters
from predictd_server.serving.greeting import Greeting
from predictd_server.serving.lanes import Lanes
from predictd_server.serving.open_requests import OpenRequests
from predictd_server.serving.pending import Pending
from predictd_server.serving.request_reader import RequestReader
from predictd_server.serving.shared_answers import Question, SharedAnswers

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
        reader: Makes requests of messages.
        keep_s: How long the work of a vanished client is kept for the next run of its task; 0 keeps none.

    Attributes:
        shared: Answers that are kept, and requests that share one.
        memory: Maps what clients share.
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
        reader: RequestReader,
        keep_s: float,
    ) -> None:
        self._registry = registry
        self._greeting = greeting
        self._limits = limits
        self._lanes = lanes
        self._open = OpenRequests()
        self._reader = reader
        self._generation = registry.generation
        self._swept_s = 0.0
        self.counters = counters
        self.admission = admission
        self.shared = SharedAnswers(registry, self._open, admission, lanes, counters, keep_s)
        self._tasks = self.shared.tasks
        self._answers = Answers(self._open, admission, self.shared, counters)
        self.memory: client_memory.ClientMemory = client_memory.NoMemory()
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
            self._answers.error(peer, request_id_of(frames), error)
            return
        if type(message) is PredictRequest:
            self._receive_predict(peer, message, frames, now)
        elif type(message) is CancelRequest:
            self._cancel(peer, message.id)
        elif type(message) is Hello:
            self._answers.put(peer, self._greeting.reply(message, self.is_draining, self.memory.offer(peer)))
        else:
            self.counters.requests_malformed_total += 1
            self._answers.error(peer, getattr(message, "id", None), refusals.misplaced(message))

    def _receive_predict(self, peer: bytes, message: PredictRequest, frames: Sequence[Buffer], now: float) -> None:
        self.counters.requests_total += 1
        request: Pending | None = None
        try:
            request = self._reader.read(peer, message, frames, now)
            request.reply_place = client_memory.reply_place(self.memory, peer, message)
            client_memory.count_inputs(self.counters, message, frames)
            if request.task is not None:
                self.shared.task_counts.request(request.task)
            self._enqueue(request)
            # Not where another runs for it, or has run.
            if message.segments and self._open.find(peer, request.id) is request:
                client_memory.own_integers(request, self._answers.drop)
        except PredictdError as error:
            self._refuse(peer, message.id, error, request)

    def _refuse(self, peer: bytes, request_id: int, error: PredictdError, request: Pending | None) -> None:
        self.counters.count_refusal(error.code)
        if error.code == "overloaded":
            self.admission.refuse(request)
        self._answers.error(peer, request_id, error)

    def _enqueue(self, request: Pending) -> None:
        if self.is_draining:
            raise refusals.draining()
        if self._open.find(request.peer, request.id) is not None:
            raise refusals.id_in_use(request.id)
        if not request.rows:
            self._answers.empty(request)
            return
        key = None
        if request.signature.is_cached or request.task is not None:
            if request.task is not None and self._continue_task(request):
                return
            key = self.shared.question(request)
        while True:
            try:
                self._take_in(key, request)
            except QueueFullError as full:
                # Room that is held by requests whose time is up, or for clients that may never come, is no reason to
                # refuse one that has time and is here.
                has_swept = self._sweep(request.arrived_s)
                if not self._release_kept(full.is_eased_by) and not has_swept:
                    raise
            else:
                return

    def _continue_task(self, request: Pending) -> bool:
        """Give the next run of a task what was kept of an earlier one; return whether there was anything."""
        outputs = self.shared.take_answer(request)
        if outputs is not None:
            self._answers.kept(request, outputs, JOINED)
            return True
        return self.shared.take_over(request)

    def _take_in(self, key: Question | None, request: Pending) -> None:
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

    def _answer_shared(self, key: Question, request: Pending) -> bool:
        """Answer a request that was asked before, or let it wait for one that is under way; return whether either."""
        outputs = self.shared.find(key, request)
        if outputs is not None:
            self._answers.kept(request, outputs, CACHE)
            return True
        if self.shared.join(key, request):
            self._open.add(request)
            return True
        return False

    def _cancel(self, peer: bytes, request_id: int) -> None:
        request = self._open.find(peer, request_id)
        if request is not None:
            self.counters.requests_cancelled_total += 1
            self._answers.drop(request)

    def forget(self, peer: bytes, now: float) -> tuple[list[Pending], list[Pending]]:
        """Release what a vanished client has in the queue; return the requests, and those that are kept instead.

        Kept is what tasks have asked, also what already runs. Else that runs to its end; its reply finds nobody and is
        counted as lost.

        Args:
            peer: Routing id of a socket that is no more, and that no other socket will be given.
            now: The time (monotonic).
        """
        released: list[Pending] = []
        kept: list[Pending] = []
        for request_id in self._open.ids(peer):
            # Found by its id again: work that was just let go of may have gone over to this one.
            request = self._open.find(peer, request_id)
            if request is None:
                continue
            if request.task is not None and not self.is_draining and self.shared.keep(request, now):
                kept.append(request)
            elif request.next_row < request.rows:
                released.append(request)
                self._answers.drop(request)
            else:
                self.shared.hand_over(request)
        self.counters.requests_released_total += len(released)
        return released, kept

    def _release_kept(self, is_meant: Callable[[Pending], bool]) -> bool:
        """Release of what waits for the next runs of tasks what is meant; return whether any work ended."""
        return any([self._answers.release(request) for request in self._tasks.waiting() if is_meant(request)])

    # --- batches ----------------------------------------------------------------------------------------------------

    def next_batch(self, now: float, beside_s: float | None = None) -> Batch | None:
        """Return a batch to run now, or None; while one runs, one of at most so many seconds to run beside it."""
        if self._generation != self._registry.generation:
            self._see_models()
        if now >= self._tasks.next_s:
            self._tasks.sweep(now)
        batch = self._lanes.take_batch(now, self._answers.expire, is_draining=self.is_draining, beside_s=beside_s)
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
        # The next run of its task will ask another version.
        self._release_kept(lambda request: not self.shared.is_served(request.signature))
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
        before = self.counters.requests_expired_total, self.counters.requests_released_total
        for request in self._lanes.waiting():
            while request.deadline_s <= now and not request.is_over:
                self._answers.expire(now, request)
        for follower in self.shared.overdue(now):
            self._answers.expire(now, follower)
        return (self.counters.requests_expired_total, self.counters.requests_released_total) != before

    def _start(self, batch: Batch, now: float) -> None:
        batch.signature.open_runs += 1
        self.counters.count_batch(batch.rows, batch.size)
        if self.shared.has_followers:
            for follower in [late for part in batch.parts for late in self.shared.overdue(now, part.request)]:
                self._answers.expire(now, follower)
        self.admission.begin(batch, now)

    # --- out --------------------------------------------------------------------------------------------------------

    def finish(self, batch: Batch, runs: Sequence[Run]) -> None:
        """Take what came of a batch in, and turn it into replies."""
        batch.signature.open_runs -= 1
        self._lanes.finish(batch, runs)
        if batch.is_searched:
            self.counters.runs_isolating_total += 1
        for run in runs:
            self._answers.take(batch, run)

    def take_replies(self) -> list[Reply]:
        """Return what is to be sent, once."""
        replies, self._answers.replies = self._answers.replies, []
        return replies

    @property
    def has_replies(self) -> bool:
        """Whether anything is to be sent."""
        return bool(self._answers.replies)

    def fail_message(self, peer: bytes, frames: Sequence[Buffer]) -> None:
        """Answer a message that a fault of ours kept from being taken in."""
        self._answers.error(peer, request_id_of(frames), refusals.fault("taking the message in"))

    def fail_batch(self, batch: Batch) -> None:
        """Answer a batch whose results a fault of ours kept from being taken in."""
        self._answers.fail(batch.parts, refusals.fault("answering"))

    def drain(self) -> None:
        """Refuse new work from now on; what was admitted still runs, but not for clients that are yet to come."""
        self.is_draining = True
        self._release_kept(lambda _: True)
        self._tasks.drop_answers()

    def abandon(self, error: PredictdError) -> None:
        """Answer everything that was admitted and has no answer yet with an error."""
        self._answers.abandon(error)

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
