"""A queue of requests, in which those that are over leave their empty shells until there are many.

Owns the order and the shells. Pump thread only; any thread reads single numbers.
"""

from __future__ import annotations

from collections import deque

from predictd_server.serving.pending import Pending

#: Shells of cancelled and expired requests that a queue may hold without being swept.
MOST_DEAD = 256


class Fifo:
    """Requests in order.

    Attributes:
        requests: They, the shells among them; always the same object.
    """

    __slots__ = ("_dead", "requests")

    def __init__(self) -> None:
        self.requests: deque[Pending] = deque()
        self._dead = 0

    def release(self) -> None:
        """Note that a request in it is over.

        Its empty shell stays until all before it have gone, or until shells are the greater part of the queue.
        """
        self._dead += 1
        if self._dead > MOST_DEAD and 2 * self._dead > len(self.requests):
            living = [request for request in self.requests if not request.is_over]
            self.requests.clear()
            self.requests.extend(living)
            self._dead = 0
        self.drop_shells()

    def drop_shells(self) -> None:
        """Keep the oldest living request first: the window closes by it, and status tells its age."""
        while self.requests and self.requests[0].is_over:
            self.requests.popleft()
            self._dead -= 1

    @property
    def waiting(self) -> int:
        """Requests that wait. Any thread."""
        return max(len(self.requests) - self._dead, 0)
