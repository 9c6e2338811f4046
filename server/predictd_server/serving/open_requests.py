"""Open requests: admitted and not answered, by whose they are.

Owns the map from a peer and its id to a request, and each signature's count of those that still need it. Pump thread
only; any thread reads the counts.
"""

from __future__ import annotations

from collections.abc import Iterator

from predictd_server.serving.pending import Pending


class OpenRequests:
    """Requests by peer and id."""

    def __init__(self) -> None:
        self._by_peer: dict[bytes, dict[int, Pending]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_peer.values()))

    def __iter__(self) -> Iterator[Pending]:
        for requests in list(self._by_peer.values()):
            yield from list(requests.values())

    def find(self, peer: bytes, request_id: int) -> Pending | None:
        """Return a peer's request."""
        requests = self._by_peer.get(peer)
        return None if requests is None else requests.get(request_id)

    def ids(self, peer: bytes) -> list[int]:
        """Return the ids that a peer uses."""
        return list(self._by_peer.get(peer, ()))

    def add(self, request: Pending) -> None:
        """Take a request in."""
        requests = self._by_peer.get(request.peer)
        if requests is None:
            requests = self._by_peer[request.peer] = {}
        requests[request.id] = request
        request.signature.open_requests += 1

    def remove(self, request: Pending) -> None:
        """Take a request out."""
        requests = self._by_peer[request.peer]
        del requests[request.id]
        if not requests:
            del self._by_peer[request.peer]
        request.signature.open_requests -= 1

    def hand_over(self, request: Pending, heir: Pending) -> None:
        """Let another's caller have a request, in the place of its own and of the one that it had so far."""
        self.remove(request)
        request.peer, request.id, request.reply_place, request.task = heir.peer, heir.id, heir.reply_place, heir.task
        # Others have waited beside it since: what closes their window is when the work came, whoever's it is.
        request.queued_s = min(request.queued_s, request.arrived_s)
        request.arrived_s, request.deadline_s = heir.arrived_s, heir.deadline_s
        self._by_peer[heir.peer][heir.id] = request
