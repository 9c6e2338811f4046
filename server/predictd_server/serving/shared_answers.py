"""Answers that several requests share: kept from an earlier one, or had together with one that is under way.

Owns the rules of both, for the models that have them set: what is kept and for how long, who waits for whom, and who
takes over when the one that runs goes away or fails. It writes no reply; the core does. Pure; pump thread only, but
for the plain numbers that the control thread reads.
"""

from __future__ import annotations

from collections.abc import Sequence

from predictd_proto.errors import PredictdError
from predictd_proto.tensors import Tensor
from predictd_server.models.registry import Registry
from predictd_server.serving.admission import Admission
from predictd_server.serving.counters import Counters
from predictd_server.serving.lanes import Lanes
from predictd_server.serving.open_requests import OpenRequests
from predictd_server.serving.pending import Pending
from predictd_server.serving.response_cache import Key, ResponseCache
from predictd_server.serving.served import ServedSignature
from predictd_server.serving.single_flight import FOLLOWER_BYTES, Flights, first_follower


class SharedAnswers:
    """The caches of all models, and the requests that wait for another's answer.

    Args:
        registry: Knows what is still served.
        open_requests: Where a request's caller is known.
        admission: Bounds what they hold.
        lanes: Where a request runs after all.
        counters: Where they are counted.

    Attributes:
        caches: By model.
    """

    def __init__(
        self,
        registry: Registry,
        open_requests: OpenRequests,
        admission: Admission,
        lanes: Lanes,
        counters: Counters,
    ) -> None:
        self._registry = registry
        self._open = open_requests
        self._admission = admission
        self._lanes = lanes
        self._counters = counters
        self._flights = Flights()
        self.caches: dict[str, ResponseCache] = {}

    @property
    def flights(self) -> int:
        """Requests that run for those too that ask the same."""
        return len(self._flights)

    def find(self, key: Key, request: Pending) -> tuple[Tensor, ...] | None:
        """Return the outputs that were kept for a request; None where there are none."""
        cache = self._cache(request.signature)
        outputs = cache.get(key)
        if outputs is not None:
            cache.hits += 1
            self._counters.cache_hits_total += 1
        return outputs

    def join(self, key: Key, request: Pending) -> bool:
        """Let a request wait for the answer of one that is under way; return whether there is one.

        Raises:
            OverloadedError: Too much waits already.
        """
        flight = self._flights.find((key, request.caller))
        if flight is None:
            return False
        self._admission.admit(self._admission.model(request.signature), 0, 0, FOLLOWER_BYTES, request.caller)
        self._flights.join(flight, request)
        self._cache(request.signature).joined += 1
        self._counters.cache_joined_total += 1
        return True

    def begin(self, key: Key, request: Pending) -> None:
        """Let a request that was admitted run for all that will ask the same."""
        self._flights.begin((key, request.caller), request)
        self._cache(request.signature).misses += 1
        self._counters.cache_misses_total += 1

    def leave(self, request: Pending) -> None:
        """Take out a request that is over."""
        self._flights.leave(request)

    def hand_over(self, request: Pending) -> bool:
        """Let another have the work of a request whose caller wants it no more; return whether anybody does."""
        flight = request.flight
        if flight is None or flight.leader is not request or not flight.followers:
            return False
        heir = first_follower(flight)
        self._admission.finish(heir.byte_count)
        self._admission.give_back(heir)
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
        heir = flight.leader = first_follower(flight)
        self._admission.restart(heir, request.byte_count - heir.byte_count)
        heir.byte_count = request.byte_count
        self._lanes.add(heir)
        if not self._is_served(heir.signature):
            # Its lane may be a new one, made after all that keep what is gone in memory were told to go.
            self._lanes.outdate()
        return []

    def settle(self, request: Pending, outputs: Sequence[Tensor]) -> list[Pending]:
        """Keep the answer to a request, and return who waits for it too."""
        flight = request.flight
        if flight is None:
            return []
        if self._is_served(request.signature):
            self._cache(request.signature).put(flight.key[0], outputs)
        return list(flight.followers)

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
            cache.keep_only(self._is_served)

    def _is_served(self, signature: ServedSignature) -> bool:
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
