"""Single flight: of requests that ask the same at the same time one runs, and the others wait for its answer.

Owns who waits for whom. What a request is answered, and what becomes of the others when the one that runs fails, is
the core's. Pure; pump thread only.

A request that runs for others is its flight's leader. When its caller goes away, the work stays where it is, in its
place in the queue or in the middle of a run, and another caller takes it over.

A flight is found by a key that never changes, also where inputs lie in memory that their client can write: so it ends
under the key that it began with. Where two questions share a key, the first has it, and the other runs by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from predictd_server.serving.caller_class import CallerClass
from predictd_server.serving.pending import Pending
from predictd_server.serving.response_cache import Key
from predictd_server.serving.task_question import TaskKey

#: What a request that waits for another's answer takes of the bound on bytes: it shares the other's inputs.
FOLLOWER_BYTES = 1024

FlightKey = tuple[Key | TaskKey, CallerClass | None]


@dataclass(slots=True, eq=False)
class Flight:
    """Requests that ask the same.

    Attributes:
        key: What they ask, and the class of their callers: none waits for one with another priority.
        leader: The one that waits for a batch, or runs.
        followers: Those that wait for its answer, in order of arrival.
        has_failed: A leader failed; its successor's failure is everyone's.
    """

    key: FlightKey
    leader: Pending
    followers: dict[Pending, None] = field(default_factory=dict)
    has_failed: bool = False


class Flights:
    """All flights.

    Attributes:
        by_key: They, by what they ask.
        followers: How many requests wait for another's answer, in all of them.
    """

    def __init__(self) -> None:
        self.by_key: dict[FlightKey, Flight] = {}
        self.followers = 0

    def begin(self, key: FlightKey, leader: Pending) -> None:
        """Let a request run, for those too that will ask the same until it is answered."""
        if key not in self.by_key:
            leader.flight = self.by_key[key] = Flight(key, leader)

    def find(self, key: FlightKey) -> Flight | None:
        """Return the flight that has a key."""
        return self.by_key.get(key)

    def join(self, flight: Flight, request: Pending) -> None:
        """Let a request wait for another's answer; it needs no inputs of its own."""
        request.tensors = flight.leader.tensors
        request.byte_count = FOLLOWER_BYTES
        request.flight = flight
        flight.followers[request] = None
        self.followers += 1

    def leave(self, request: Pending) -> None:
        """Take out a request that is over; with its leader a flight ends, and nobody may wait for it any more."""
        flight = request.flight
        if flight is None:
            return
        if flight.leader is request:
            del self.by_key[flight.key]
        elif request in flight.followers:
            del flight.followers[request]
            self.followers -= 1

    def take_first(self, flight: Flight) -> Pending:
        """Take out the follower that has waited longest."""
        follower = next(iter(flight.followers))
        del flight.followers[follower]
        self.followers -= 1
        return follower

    def overdue(self, now: float) -> list[Pending]:
        """Return the followers whose time was up before the run that they wait for began."""
        return [
            follower
            for flight in self.by_key.values()
            if not flight.leader.batches
            for follower in flight.followers
            if follower.deadline_s <= now
        ]
