"""An exchange on a bench: connections, endpoint, jobs and clock are plain objects that a test moves by hand."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from predictd.connections.transport import ConnectionLost
from predictd.deadline import Deadline
from predictd.in_flight.exchange import Exchange
from predictd.in_flight.pending import Pending
from predictd.requests.catalogue import Plan
from predictd.requests.request_frames import Question
from predictd.routing.retries import Retries
from predictd_proto.endpoints import Endpoint
from predictd_proto.errors import PredictdError
from predictd_proto.frames import decode, encode
from predictd_proto.messages import CancelRequest, ErrorResponse, PredictRequest, PredictResponse, Welcome
from tests.client.fake_server import DOUBLE, answer


class BenchConnection:
    """A connection whose server is the test."""

    def __init__(self, bench: Bench) -> None:
        self.address = bench.endpoint.data
        self.greeting = Welcome(version=1, server_id=bench.server_id, server="0", state="ready")
        self.segments = None
        self.bench = bench
        self.requests: dict[int, PredictRequest] = {}
        self.cancelled: list[int] = []
        self.arrived: deque[list[Any]] = deque()
        self.is_lost = False
        self.is_closed = False
        self.most_waiting = 0
        self._last_id = 1000 * len(bench.connections)

    def uncount(self) -> None:
        """Nobody counts here."""

    def next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def fileno(self) -> int:
        return id(self)

    def send(self, frames: list[Any], request_id: int | None) -> None:
        assert not self.is_closed
        assert request_id is None
        if self.is_lost:
            raise ConnectionLost
        request = decode(frames)
        assert isinstance(request, PredictRequest)
        assert request.id not in self.requests
        self.requests[request.id] = request

    def receive_ready(self) -> list[Any] | None:
        assert not self.is_closed
        if self.arrived:
            return self.arrived.popleft()
        if self.is_lost:
            raise ConnectionLost
        return None

    def cancel(self, request_id: int) -> None:
        assert not self.is_closed
        self.cancelled.append(request_id)

    def abandon(self) -> None:
        self.is_closed = True

    close = abandon

    @property
    def waiting(self) -> list[PredictRequest]:
        """Requests that were neither answered nor cancelled."""
        return [request for request in self.requests.values() if request.id not in self.cancelled]

    def reply(self, message: Any) -> None:
        """Let an answer arrive."""
        self.requests.pop(message.id, None)
        self.arrived.append(message if isinstance(message, list) else encode(message))

    def refuse(self, request: PredictRequest, code: str, **detail: Any) -> None:
        self.reply(ErrorResponse(id=request.id, code=code, message="no", detail=detail))


class BenchLink:
    """An endpoint whose connecting and fetching the test allows or refuses."""

    connect_timeout_ms = 1000.0
    pool: Any = None

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.endpoint = bench.endpoint
        self.plans: dict[Any, Plan] = {}
        self.fetched = 0

    def known(self, server_id: str, key: Any) -> Plan | None:
        return self.plans.get((server_id, key))

    def plan(self, server_id: str, key: Any, deadline: Deadline) -> tuple[Plan, bool]:
        self.fetched += 1
        if self.bench.fetch_error is not None:
            raise self.bench.fetch_error
        metadata = self.bench.model if type(key[1]) is not int else self.bench.versions[key[1]]
        plan = self.plans[server_id, key] = Plan(metadata, metadata.signatures[0])
        return plan, True

    def remember(self, server_id: str, key: Any, plan: Plan) -> None:
        self.plans[server_id, key] = plan

    def forget(self, model: str) -> None:
        self.plans.clear()

    def connect(self, pool: Any, deadline: Deadline, model: str) -> BenchConnection:
        assert deadline.remaining_ms > 0
        if self.bench.connect_error is not None:
            raise self.bench.connect_error
        connection = BenchConnection(self.bench)
        self.bench.connections.append(connection)
        return connection


class BenchRoutes:
    """One endpoint."""

    def __init__(self, link: BenchLink) -> None:
        self.only = link
        self.links = (link,)
        self.connect_timeout_ms = link.connect_timeout_ms

    def choose(self, tried: Any = ()) -> BenchLink:
        return self.only

    def note(self, *things: Any) -> None:
        """Nothing is kept for one endpoint."""

    began = ended = answered = failed = note


class Bench:
    """The exchange and its driver.

    Attributes:
        done: Requests whose `on_done` was called, in order.
        watched: Descriptors that the driver waits for.
    """

    def __init__(self, *, max_in_flight: int = 256, retries: Retries | None = None) -> None:
        self.endpoint = Endpoint.parse("ipc:///nowhere/b.sock")
        self.server_id = "first"
        self.model = DOUBLE
        self.versions = {1: DOUBLE}
        self.now_s = 100.0
        self.connect_error: PredictdError | None = None
        self.fetch_error: PredictdError | None = None
        self.connections: list[BenchConnection] = []
        self.jobs: deque[tuple[Callable[..., Any], Callable[..., None]]] = deque()
        self.watched: set[int] = set()
        self.done: list[Pending] = []
        self.link = BenchLink(self)
        routes: Any = BenchRoutes(self.link)
        self.exchange = Exchange(
            routes, self, retries=retries, max_in_flight=max_in_flight, clock=self.clock, draw=lambda: 0.5
        )

    def clock(self) -> float:
        return self.now_s

    def watch(self, channel: Any) -> None:
        self.watched.add(channel.connection.fileno())

    def unwatch(self, channel: Any) -> None:
        self.watched.remove(channel.connection.fileno())

    def start(self, work: Callable[..., Any], done: Callable[..., None]) -> None:
        self.jobs.append((work, done))

    def run_job(self) -> None:
        work, done = self.jobs.popleft()
        try:
            result, error = work(self.clock), None
        except PredictdError as raised:
            result, error = None, raised
        done(result, error)
        self.exchange.settle()

    def run_jobs(self) -> None:
        while self.jobs:
            self.run_job()

    def ask(self, value: float = 1.0, *, timeout_ms: float = 10_000.0, inputs: Any = None) -> Pending:
        rows = np.full((1, 4), value, np.float32) if inputs is None else inputs
        pending = Pending(Question("double", rows), Deadline(timeout_ms, self.clock), self.done.append)
        self.exchange.ask(pending)
        return pending

    def asked(self, value: float = 1.0, **options: Any) -> Pending:
        """Ask, with everything that has to be connected and fetched first."""
        pending = self.ask(value, **options)
        self.run_jobs()
        return pending

    def advance(self, seconds: float) -> None:
        self.now_s += seconds
        self.exchange.turn()

    def read(self) -> None:
        """Let the driver find every connection readable that has something."""
        for line in self.exchange._lines.values():
            for channel in list(line.channels):
                self.exchange.readable(channel)

    def answer(self, request: PredictRequest, *, version: int = 1) -> None:
        connection = next(c for c in self.connections if request.id in c.requests)
        connection.reply(answer(request, version=version))

    def answer_all(self) -> None:
        for connection in self.connections:
            for request in connection.waiting:
                connection.reply(answer(request))
        self.read()


def value_of(pending: Pending) -> float:
    """Return what a request was answered; the answer to `value` is twice that."""
    assert pending.error is None, pending.error
    assert isinstance(pending.answer, PredictResponse)
    return float(pending.answer.tensors[0].view()[0, 0])


__all__ = ["Bench", "BenchConnection", "CancelRequest", "value_of"]
