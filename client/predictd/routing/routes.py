"""The routes: which of several endpoints a request goes to.

Owns what this process knows of each endpoint: its load, its requests in progress, and the circuit that keeps requests
away from one that fails. It asks nobody and waits for nothing; clock and random numbers are arguments. Any thread:
single operations on dicts and whole objects that replace each other, so there is no lock that a fork could leave locked
or that a signal's handler could wait for. A child process begins with a view of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from time import monotonic

from predictd.process import Process, this_process
from predictd.requests.link import Link
from predictd.routing.circuit import Circuit, opens
from predictd.routing.draws import draw
from predictd_proto.endpoints import Endpoint
from predictd_proto.errors import ExpiredInQueueError, PredictdError, RemoteError
from predictd_proto.messages import Receipt

#: A reading of a server's queue is worth half after this long.
HALF_LIFE_S = 1.0

#: What a server that has requests of ours and says nothing counts as, for each second of its silence: busy ones are
#: passed over for a while, and a stopped one soon gets no further requests, long before their deadlines tell of it.
ROWS_PER_SILENT_S = 100.0


class Route:
    """What one process knows of one endpoint.

    Attributes:
        link: The endpoint.
        circuit: Why and until when it is to be left alone; None while it works.
        under_way: This process's requests in progress there.
        heard_s: When it last said anything.
    """

    __slots__ = ("_asked_s", "_queued_rows", "_read_s", "circuit", "heard_s", "link", "under_way")

    def __init__(self, link: Link) -> None:
        self.link: Link = link
        self.circuit: Circuit | None = None
        self.under_way: set[object] = set()
        self.heard_s: float = float("-inf")
        self._asked_s = 0.0
        self._queued_rows = 0
        self._read_s = 0.0

    def began(self, request: object, now_s: float) -> None:
        """Count a request."""
        if not self.under_way:
            self._asked_s = now_s
        self.under_way.add(request)

    def read(self, queued_rows: int, now_s: float) -> None:
        """Note how many rows wait at the server."""
        self._queued_rows = queued_rows
        self._read_s = now_s

    def load(self, now_s: float) -> int:
        """Return how much waits there, as far as is known: rows in its queue, and our own requests.

        Whole rows, so that a reading which has faded makes no difference any more.
        """
        rows = self._queued_rows * 0.5 ** (max(now_s - self._read_s, 0.0) / HALF_LIFE_S)
        ours = len(self.under_way)
        if ours:
            rows += max(now_s - max(self.heard_s, self._asked_s), 0.0) * ROWS_PER_SILENT_S
        return int(rows) + ours


class Routes:
    """The ways to one or several endpoints that serve the same models.

    With one endpoint there is nothing to choose and nothing is kept.

    Args:
        endpoints: Where servers listen; at least one.
        connect_timeout_ms: How long connecting to one may take.
        clock: Returns seconds, never goes back.
        draw: Returns a number from 0 up to 1.

    Attributes:
        links: One for each endpoint.
        only: The link, where there is one only.
        connect_timeout_ms: How long connecting to one may take.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        *,
        connect_timeout_ms: float,
        clock: Callable[[], float] = monotonic,
        draw: Callable[[], float] = draw,
    ) -> None:
        self.links: tuple[Link, ...] = tuple(
            Link(endpoint, connect_timeout_ms=connect_timeout_ms) for endpoint in endpoints
        )
        self.connect_timeout_ms = connect_timeout_ms
        self.only: Link | None = self.links[0] if len(self.links) == 1 else None
        self._clock = clock
        self._draw = draw
        self._process: Process | None = None
        self._routes: dict[Link, Route] = {}

    def choose(self, tried: Collection[Link] = ()) -> Link:
        """Return where to ask.

        First an endpoint whose circuit is due for a probe, one caller at a time; then the least loaded of those that
        work; then the one that is due soonest.

        Args:
            tried: Not these, unless there are no others.
        """
        if self.only is not None:
            return self.only
        now_s = self._clock()
        least: list[Route] = []
        least_load = 0
        soonest: Link | None = None
        soonest_s = 0.0
        for route in self._known().values():
            if tried and route.link in tried:
                continue
            circuit = route.circuit  # read once: another thread may open or close it at any moment
            if circuit is None:
                load = route.load(now_s)
                if not least or load < least_load:
                    least, least_load = [route], load
                elif load == least_load:
                    least.append(route)
            elif circuit.lets_probe(now_s):
                return route.link
            elif soonest is None or circuit.due_s < soonest_s:
                soonest, soonest_s = route.link, circuit.due_s
        if least:
            # Drawn, so that many clients that know as little as each other don't all take the first.
            return least[int(self._draw() * len(least)) if len(least) > 1 else 0].link
        return soonest or self.choose()

    def began(self, link: Link, request: object) -> None:
        """Count a request as in progress at an endpoint, until `ended`.

        Args:
            link: The endpoint.
            request: Whatever stands for the request; the same for `ended`.
        """
        if self.only is None:
            self._known()[link].began(request, self._clock())

    def ended(self, link: Link, request: object) -> None:
        """Count it no longer, however it ended; more than once does no harm."""
        if self.only is None:
            self._known()[link].under_way.discard(request)

    def answered(self, link: Link, receipt: Receipt | None = None) -> None:
        """Take note of an answer: it closes the circuit and tells the load."""
        if self.only is not None:
            return
        route, now_s = self._known()[link], self._clock()
        route.heard_s = now_s
        if receipt is not None:
            route.read(receipt.queued_rows, now_s)
        circuit = route.circuit
        if circuit is not None and circuit.yields(now_s):
            route.circuit = None

    def failed(self, link: Link, error: PredictdError) -> None:
        """Take note of an error: where it says that requests are better sent elsewhere, it opens the circuit."""
        if self.only is not None:
            return
        route, now_s = self._known()[link], self._clock()
        if not opens(error, now_s, route.heard_s):
            if isinstance(error, (RemoteError, ExpiredInQueueError)):
                self.answered(link)
            return
        if isinstance(error, RemoteError):
            route.heard_s = now_s
        else:
            # A request on one of these would wait at a stopped server until its deadline; a handshake tells sooner.
            link.drop_idle()
        route.circuit = Circuit.after(error, route.circuit, now_s, self._draw())

    def _known(self) -> dict[Link, Route]:
        """Return this process's view; a new one after a fork."""
        process = this_process()
        if self._process is not process:
            # Of two threads one wins; what the other has noted meanwhile is forgotten, which does no harm.
            self._routes = {link: Route(link) for link in self.links}
            self._process = process
        return self._routes
