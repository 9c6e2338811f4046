"""Fakes as context managers: with real sockets for any process, or without any for this one.

Owns the start and the end of a fake. What it answers is `daemon.py`'s. Main thread, as a rule.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from predictd.connections import connecting
from predictd.testing.blocks import as_block
from predictd.testing.daemon import FakeServer
from predictd.testing.direct import DirectStandIn
from predictd.testing.homes import announced, default_test_endpoint
from predictd.testing.watched import WatchedStandIn
from predictd_proto.endpoints import Endpoint
from predictd_proto.errors import ConfigError
from predictd_proto.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from predictd.connections.connecting import StandIn
    from predictd.testing.models import FakeModel
    from predictd.testing.sockets import SocketThread

#: Data addresses at which a fake of this process answers now.
_taken: set[str] = set()


@as_block
def fake_server(
    *models: FakeModel, endpoint: str | None = None, limits: Limits = DEFAULT_LIMITS
) -> Iterator[FakeServer]:
    """Serve fake models on real sockets, from a thread of this process, for the length of a block.

    Any process finds it: `PREDICTD_ENDPOINT` leads there while the block runs, here and in processes started meanwhile
    (a Celery worker, a web server). Functions of the test run in the fake's thread.

    Args:
        *models: What it serves; more can be added by `server.models.put`.
        endpoint: Where to listen; then `PREDICTD_ENDPOINT` is left alone. None for the one endpoint of this process's
            tests (see `new_endpoint` for others beside it).
        limits: What it accepts in one request.

    Raises:
        ConfigError: The endpoint is none, is taken, or can't be bound.
        WrongAnswerError: At the end of the block: an answer did not fit its signature.

    Examples:
        >>> import predictd
        >>> digits = FakeModel("digits", inputs=("float32", (None, 64)), outputs=("float32", (None, 10)))
        >>> with fake_server(digits) as server:
        ...     predictd.RemoteModel("digits").predict([[0.0] * 64]).shape
        (1, 10)
    """
    server = FakeServer(models, endpoint=endpoint or default_test_endpoint(), limits=limits)
    with _settled(server), serve_on_sockets(server, is_announced=endpoint is None):
        yield server


@as_block
def in_process(
    *models: FakeModel, endpoint: str | None = None, limits: Limits = DEFAULT_LIMITS
) -> Iterator[FakeServer]:
    """Serve fake models to this process alone, without sockets and threads, for the length of a block.

    Every connection that a client of this process opens is answered by the fake, wherever it leads: no test talks to a
    real daemon by mistake. Functions of the test run in the thread that calls. A forked child gets a copy of the fake:
    what it asks is not seen here.

    Args:
        *models: What it serves; more can be added by `server.models.put`.
        endpoint: Answer for this endpoint only, and leave `PREDICTD_ENDPOINT` alone; None for every one.
        limits: What it accepts in one request.

    Raises:
        ConfigError: The endpoint is none, or is taken.
        WrongAnswerError: At the end of the block: an answer did not fit its signature.

    Examples:
        >>> import predictd
        >>> import numpy
        >>> sums = FakeModel.from_function(lambda x: x.sum(axis=1), numpy.ones((1, 2), "float32"), "sums")
        >>> with in_process(sums) as server:
        ...     predictd.RemoteModel("sums").predict([[3.0, 4.0]])
        array([7.], dtype=float32)
    """
    server = FakeServer(models, endpoint=endpoint or default_test_endpoint(), limits=limits)
    with _settled(server), serve_in_process(server, is_everywhere=endpoint is None):
        yield server


@contextmanager
def _settled(server: FakeServer) -> Iterator[None]:
    """Put its models back as they were, once it serves no more; then tell of mistakes, unless the block has failed."""
    try:
        yield
    finally:
        server.models.restore()
    server.check()


@contextmanager
def serve_on_sockets(server: FakeServer, *, is_announced: bool) -> Iterator[None]:
    """Carry a fake's messages over real sockets for the length of a block."""
    from predictd.testing.sockets import SocketThread

    endpoint = Endpoint.parse(server.endpoint)
    with ExitStack() as stack:
        stack.enter_context(claimed(endpoint))
        thread = SocketThread(endpoint, server.begin, server.presence)
        thread.start()
        stack.callback(_stop, thread, server)
        # Before the sockets close: who still holds a connection is told at its next use.
        stack.callback(server.presence.leave)
        stack.enter_context(standing_in(WatchedStandIn(endpoint, server.presence)))
        if is_announced:
            stack.enter_context(announced(server.endpoint))
        yield


def _stop(thread: SocketThread, server: FakeServer) -> None:
    if not thread.stop():
        waiting = [request for request in server.requests if request.outcome == "waiting"]
        text = (
            "an answer did not return though its fake has ended; it runs on in a thread. End what it waits for inside "
            f"the block. Not answered: {', '.join(map(repr, waiting)) or 'requests before a reset'}"
        )
        server.mistakes.add(text)
    if thread.error is not None:
        server.mistakes.add(thread.error.message)


@contextmanager
def serve_in_process(
    server: FakeServer, *, is_everywhere: bool, spared: frozenset[str] = frozenset()
) -> Iterator[None]:
    """Answer this process's clients from a fake for the length of a block."""
    endpoint = Endpoint.parse(server.endpoint)
    with ExitStack() as stack:
        stack.enter_context(claimed(endpoint))
        stack.callback(server.presence.leave)
        stand_in = DirectStandIn(
            server.take, server.presence, endpoint=None if is_everywhere else endpoint, spared=spared
        )
        stack.enter_context(standing_in(stand_in))
        if is_everywhere:
            stack.enter_context(announced(server.endpoint))
        yield


@contextmanager
def standing_in(stand_in: StandIn) -> Iterator[None]:
    """Have connections of this process made by a stand-in for the length of a block."""
    connecting.stand_ins = (stand_in, *connecting.stand_ins)
    try:
        yield
    finally:
        connecting.stand_ins = tuple([other for other in connecting.stand_ins if other is not stand_in])


@contextmanager
def claimed(endpoint: Endpoint) -> Iterator[None]:
    """Keep an endpoint for one fake for the length of a block.

    Raises:
        ConfigError: Another fake of this process has it.
    """
    if endpoint.data in _taken:
        text = (
            f"a fake of this process answers at {endpoint} already. Give the second one an endpoint of its own: "
            "endpoint=predictd.testing.new_endpoint()"
        )
        raise ConfigError(text)
    _taken.add(endpoint.data)
    try:
        yield
    finally:
        _taken.discard(endpoint.data)
