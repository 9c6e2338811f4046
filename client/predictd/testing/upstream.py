"""The real daemon behind a recording: requests are passed on to it, bit for bit.

Owns the connections to it, one for each thread. It keeps no answer. Any thread.
"""

from __future__ import annotations

import threading
from dataclasses import replace

from predictd.client import Client
from predictd.connections.connecting import connect, read_message
from predictd.connections.transport import Connection, ConnectionLost
from predictd.deadline import DEFAULT_CONNECT_TIMEOUT_MS, DEFAULT_TIMEOUT_MS, Deadline
from predictd.process import this_process
from predictd_proto.endpoints import Endpoint
from predictd_proto.errors import DeadlineExceededError, RemoteProtocolError, ServerLostError
from predictd_proto.frames import encode
from predictd_proto.limits import Limits
from predictd_proto.messages import ErrorResponse, PredictRequest, PredictResponse
from predictd_proto.metadata import ModelMetadata

READY_TIMEOUT_S = 60.0


class Upstream:
    """Asks a real daemon.

    Args:
        endpoint: Where it listens.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._here = threading.local()
        self._opened: list[Connection] = []

    def models(self) -> tuple[ModelMetadata, ...]:
        """Return what it serves, once it is ready.

        Raises:
            ServerUnavailableError: Nobody answers at the endpoint.
            ModelNotReadyError: It is not ready within a minute.
        """
        with Client(str(self._endpoint)) as client:
            client.wait_until_ready(READY_TIMEOUT_S)
            return client.models()

    @property
    def limits(self) -> Limits:
        """What it accepts in one request."""
        limits: Limits = self._connection(Deadline(DEFAULT_CONNECT_TIMEOUT_MS)).greeting.limits
        return limits

    def ask(self, request: PredictRequest) -> PredictResponse:
        """Pass a request on, and return the answer to it.

        Raises:
            PredictdError: It answered with an error, or not at all.
        """
        deadline = Deadline(max(request.timeout_ms or DEFAULT_TIMEOUT_MS, 1.0))
        connection = self._connection(deadline)
        request_id = connection.next_id()
        try:
            connection.send(encode(replace(request, id=request_id)), request_id)
            answer = self._answer(connection, request_id, deadline)
        except ConnectionLost:
            self._here.connection = None
            connection.close()
            text = f"the daemon behind this recording, at {self._endpoint}, went away with the request"
            raise ServerLostError(text) from None
        except BaseException:
            self._here.connection = None
            connection.abandon()
            raise
        connection.pending_id = None
        if isinstance(answer, ErrorResponse):
            raise answer.error()
        return replace(answer, id=request.id)

    def close(self) -> None:
        """Close the connections; nobody asks any more."""
        opened, self._opened = self._opened, []
        for connection in opened:
            if connection.process is this_process():
                connection.close()

    def _connection(self, deadline: Deadline) -> Connection:
        connection: Connection | None = getattr(self._here, "connection", None)
        if connection is None or connection.process is not this_process() or not connection.is_connected:
            connection = connect(self._endpoint.data, deadline=deadline.sooner(DEFAULT_CONNECT_TIMEOUT_MS))
            self._here.connection = connection
            self._opened.append(connection)
        return connection

    def _answer(self, connection: Connection, request_id: int, deadline: Deadline) -> PredictResponse | ErrorResponse:
        while True:
            frames = connection.receive(deadline)
            if frames is None:
                text = f"the daemon behind this recording, at {self._endpoint}, did not answer in time"
                raise DeadlineExceededError(text)
            message = read_message(frames, connection.address)
            if not isinstance(message, (PredictResponse, ErrorResponse)):
                text = f"expected an answer from {self._endpoint}, got a {type(message).__name__}"
                raise RemoteProtocolError(text)
            if message.id in {request_id, None}:
                return message
