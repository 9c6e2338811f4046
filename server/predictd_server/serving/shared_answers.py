"""Answers that several requests share: kept from an earlier one, or had together with one that is under way.

Owns the rules of both, for the models that have them set: what is kept and for how long, who waits for whom, and who
takes over when the one that runs goes away or fails. Answers are kept where that is set; what is under way is shared
then with all, and else with the same task run again. It writes no reply; the core does. Pure; pump thread only, but for
the plain numbers that the control thread reads.
"""

from __future__ import annotations

from collections.abc import Sequence

from predictd_proto.errors import PredictdError
from predictd_proto.tensors import Tensor
from predictd_server.models.registry import Registry
from predictd_server.serving.admission import Admission
from predictd_server.serving.batch import Run
from predictd_server.serving.client_memory import is_placed, owned
from predictd_server.serving.counters import Counters
from predictd_server.serving.lanes import Lanes
from predictd_server.serving.open_requests import OpenRequests
from predictd_server.serving.pending import Pending
from predictd_server.serving.response_cache import Key, ResponseCache, key_of
from predictd_server.serving.served import ServedSignature
from predictd_server.serving.single_flight import FOLLOWER_BYTES, FlightKey, Flights
from predictd_server.serving.task_counts import TaskCounts
from predictd_server.serving.task_question import TaskQuestion, question_of
from predictd_server.serving.task_runs import TaskRuns

Question = Key | TaskQuestion


class SharedAnswers:
    """The caches of all models, and the requests that wait for another's answer.

    Args:
        registry: Knows what is still served.
        open_requests: Where a request's caller is known.
        admission: Bounds what they hold.
        lanes: Where a request runs after all.
        counters: Where they are counted.
        keep_s: How long work is kept for the next run of its task; 0 keeps none.

    Attributes:
        caches: By model.
        under_way: Requests that run for those too that will ask the same.
        tasks: What is kept for the next runs of tasks.
        task_counts: How many requests came for which tasks.
    """

    def __init__(
        self,
        registry: Registry,
        open_requests: OpenRequests,
        admission: Admission,
        lanes: Lanes,
        counters: Counters,
        keep_s: float,
    ) -> None:
        self._registry = registry
        self._open = open_requests
        self._admission = admission
        self._lanes = lanes
        self._counters = counters
        self._flights = Flights()
        self.caches: dict[str, ResponseCache] = {}
        self.under_way = self._flights.by_key
        self.tasks = TaskRuns(keep_s)
        self.task_counts = TaskCounts()

    def question(self, request: Pending) -> Question | None:
        """Return what is equal for requests that may have one answer; None where each has its own."""
        signature = request.signature
        if signature.is_cached:
            return key_of(owned(request))
        # What draws at random has another answer for each who lives; one whose client is gone may still be taken over.
        return question_of(request) if request.task is not None and signature.is_repeatable else None

    def find(self, key: Question, request: Pending) -> tuple[Tensor, ...] | None:
        """Return the outputs that were kept for a request; None where there are none."""
        if isinstance(key, TaskQuestion):
            return None
        cache = self._cache(request.signature)
        outputs = cache.get(key)
        if outputs is not None:
            cache.hits += 1
            self._counters.cache_hits_total += 1
        return outputs

    def join(self, key: Question, request: Pending) -> bool:
        """Let a request wait for the answer of one that is under way; return whether there is one.

        Raises:
            OverloadedError: Too much waits already.
        """
        flight = self._flights.find(_flight_key(key, request))
        if flight is None or (isinstance(key, TaskQuestion) and not _runs_for(flight.leader, key)):
            return False
        self._admission.admit(self._admission.model(request.signature), 0, 0, FOLLOWER_BYTES, request.caller)
        self._flights.join(flight, request)
        if isinstance(key, TaskQuestion):
            self._count_joined(request)
        else:
            self._cache(request.signature).joined += 1
            self._counters.cache_joined_total += 1
        return True

    def begin(self, key: Question, request: Pending) -> None:
        """Let a request that was admitted run for all that will ask the same."""
        self._flights.begin(_flight_key(key, request), request)
        if not isinstance(key, TaskQuestion):
            self._cache(request.signature).misses += 1
            self._counters.cache_misses_total += 1

    def keep(self, request: Pending, now: float) -> bool:
        """Keep a request whose client is gone for the next run of its task; return whether it is one to keep.

        One that others wait for isn't: they have its answer.
        """
        flight = request.flight
        if flight is not None and (flight.leader is not request or flight.followers):
            return False
        if request.task is None or not self.is_served(request.signature) or not self.tasks.keep(request, now):
            return False
        self._counters.requests_kept_total += 1
        self.task_counts.keep(request.task)
        return True

    def take_over(self, heir: Pending) -> bool:
        """Let the next run of a task have the work that was kept for it; return whether there was any."""
        request = self.tasks.take(heir)
        if request is None:
            return False
        self._open.add(heir)
        self._open.hand_over(request, heir)
        heir.is_over = True
        self._count_joined(request)
        return True

    def take_answer(self, heir: Pending) -> tuple[Tensor, ...] | None:
        """Return the outputs that were kept for the next run of a task; None where there are none."""
        outputs = self.tasks.take_answer(heir)
        if outputs is not None:
            self._count_joined(heir)
        return outputs

    @property
    def has_followers(self) -> bool:
        """Whether anybody waits for another's answer; asked with every batch."""
        return self._flights.followers > 0

    def is_shared(self, run: Run) -> bool:
        """Whether an answer of a run is not just its caller's: others wait for it, or it was kept for a task."""
        if not self._flights.followers and not self.tasks.open_requests:
            return False
        for part in run.parts:
            request = part.request
            if (request.flight is not None and request.flight.followers) or is_of_two_runs(request):
                return True
        return False

    def leave(self, request: Pending) -> None:
        """Take out a request that is over."""
        self._flights.leave(request)
        if self.tasks.open_requests:
            self.tasks.leave(request)

    def hand_over(self, request: Pending) -> bool:
        """Let another have the work of a request whose caller wants it no more; return whether anybody does."""
        flight = request.flight
        if flight is None or flight.leader is not request or not flight.followers:
            return False
        heir = self._flights.take_first(flight)
        self._admission.finish(heir.byte_count)
        self._admission.give_back(heir)
        self.tasks.hand_over(request, heir)
        self._open.hand_over(request, heir)
        heir.is_over = True
        return True

    def fail(self, request: Pending) -> list[Pending]:
        """Return who fails with a request that failed.

        The first time that is nobody: another runs for the rest, since what made the one fail need not come again.
        """
        flight = request.flight
        if flight is None or not flight.followers:
            return []
        if flight.has_failed:
            return list(flight.followers)
        flight.has_failed = True
        heir = flight.leader = self._flights.take_first(flight)
        self._admission.restart(heir, request.byte_count - heir.byte_count)
        heir.byte_count = request.byte_count
        self._lanes.add(heir)
        if not self.is_served(heir.signature):
            # Its lane may be a new one, made after all that keep what is gone in memory were told to go.
            self._lanes.outdate()
        return []

    def settle(self, request: Pending, outputs: Sequence[Tensor]) -> list[Pending]:
        """Keep the answer to a request, and return who waits for it too."""
        flight = request.flight
        if flight is None:
            return []
        if request.signature.is_cached and self.is_served(request.signature):
            self._cache(request.signature).put(flight.key[0], outputs)
        return list(flight.followers)

    def settle_kept(self, request: Pending, outputs: Sequence[Tensor]) -> None:
        """Keep the answer to a request whose client is gone."""
        if self.is_served(request.signature):
            self.tasks.settle(request, outputs)

    def overdue(self, now: float, leader: Pending | None = None) -> list[Pending]:
        """Return those whose time was up before the run that they wait for began; of one that is about to, or all."""
        if leader is None:
            return self._flights.overdue(now)
        if leader.flight is None or leader.batches:
            return []
        return [follower for follower in leader.flight.followers if follower.deadline_s <= now]

    def drop_unserved(self) -> None:
        """Drop the answers of versions that are no longer served."""
        for cache in self.caches.values():
            cache.keep_only(self.is_served)
        self.tasks.drop_unserved(self.is_served)

    def _count_joined(self, request: Pending) -> None:
        self._counters.requests_joined_total += 1
        if request.task is not None:
            self.task_counts.join(request.task)

    def is_served(self, signature: ServedSignature) -> bool:
        """Whether requests may still come in for a signature."""
        try:
            return self._registry.find(signature.model, signature.version, signature.spec.name) is signature
        except PredictdError:
            return False

    def _cache(self, signature: ServedSignature) -> ResponseCache:
        limit_bytes = signature.settings.cache_bytes
        cache = self.caches.get(signature.model)
        if cache is None:
            cache = self.caches[signature.model] = ResponseCache(limit_bytes)
        cache.limit_bytes = limit_bytes
        return cache


def _flight_key(question: Question, request: Pending) -> FlightKey:
    key = question.key if isinstance(question, TaskQuestion) else question
    return key, request.caller


def _runs_for(leader: Pending, question: TaskQuestion) -> bool:
    """Whether a request's answer will be that to a question.

    Its client must not change its inputs after this look. Where a run has begun that reads them in the client's memory,
    nobody knows what it has read.
    """
    if is_placed(leader):
        if leader.next_row:
            return False
        try:
            owned(leader)
        except MemoryError:
            return False
    return question.has_inputs(leader.tensors)


def is_of_two_runs(request: Pending) -> bool:
    """Whether a request is kept for the next run of its task, or was taken over by it."""
    task = request.task
    return task is not None and (task.is_kept or task.is_joined)
