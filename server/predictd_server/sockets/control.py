"""The control socket: handshake, status, metadata and orders, answered whatever the engine and the models thread do.

Owns the control socket and its thread. It reads the state of others and never waits for any of them: an order is handed
to the models thread and answered when that is done, other questions meanwhile.
"""

from __future__ import annotations

import logging
import threading
from time import monotonic

import zmq

from predictd_proto.errors import PredictdError, RemoteProtocolError
from predictd_proto.frames import decode, encode, request_id_of
from predictd_proto.limits import Limits
from predictd_proto.messages import (
    CancelRequest,
    ErrorResponse,
    Hello,
    Message,
    MetadataRequest,
    MetadataResponse,
    StatusRequest,
    StatusResponse,
)
from predictd_proto.orders import OrderRequest
from predictd_proto.tensors import Buffer
from predictd_server.models.orders import OrderDesk
from predictd_server.serving.refusals import fault
from predictd_server.sockets.routers import bind_router, router_socket
from predictd_server.status_report import StatusReport

_log = logging.getLogger(__name__)

TURN_MS = 500

#: The socket stays open for this long after the answer to an order: a client's libzmq throws away what its caller has
#: not read yet when it sees the connection end.
GRACE_S = 0.5

#: Control messages are small; a larger one is no control message.
CONTROL_LIMITS = Limits(max_request_bytes=1 << 20, max_header_bytes=1 << 20, max_tensors=1)


class Control:
    """The control socket and its thread.

    Args:
        context: zmq's.
        endpoint: Where to listen.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], *, endpoint: str) -> None:
        self._endpoint = endpoint
        self._socket = router_socket(context, CONTROL_LIMITS)
        self._is_stopping = False
        self._open_until_s = 0.0
        self._thread: threading.Thread | None = None

    def bind(self) -> None:
        """Begin to listen.

        Raises:
            ConfigError: The endpoint can't be bound.
        """
        bind_router(self._socket, self._endpoint)

    def start(self, report: StatusReport, desk: OrderDesk) -> None:
        """Start the thread.

        Args:
            report: What it tells.
            desk: Where orders are handed in.
        """
        self._thread = threading.Thread(target=self._loop, args=(report, desk), name="predictd-control", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End the thread and close the socket, once all answers to orders are read or had time to be."""
        self._is_stopping = True
        if self._thread is not None:
            self._thread.join(timeout_s)

    @property
    def is_alive(self) -> bool:
        """Whether the thread lives."""
        return self._thread is not None and self._thread.is_alive()

    def _loop(self, report: StatusReport, desk: OrderDesk) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(desk, zmq.POLLIN)
        try:
            while not self._is_over(desk):
                ready = dict(poller.poll(TURN_MS))
                if self._socket in ready:
                    self._turn(report, desk)
                self._answer_orders(desk)
        finally:
            self._socket.close()

    def _is_over(self, desk: OrderDesk) -> bool:
        if self._is_stopping:
            self._answer_orders(desk)
        return self._is_stopping and monotonic() >= self._open_until_s

    def _turn(self, report: StatusReport, desk: OrderDesk) -> None:
        peer = self._socket.recv()
        frames: list[Buffer] = []
        while self._socket.get(zmq.RCVMORE):
            frame = self._socket.recv()
            # A control message is one frame; a second is enough to refuse it, and the rest is not kept.
            if len(frames) <= 1:
                frames.append(frame)
        reply = answer(frames, report, desk, peer)
        if reply is not None:
            self._send(peer, reply)

    def _answer_orders(self, desk: OrderDesk) -> None:
        for peer, message in desk.take_answers():
            self._send(peer, packed(message))
            self._open_until_s = monotonic() + GRACE_S

    def _send(self, peer: bytes, reply: list[Buffer]) -> None:
        try:
            self._socket.send_multipart([peer, *reply], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            _log.debug("a control reply was lost: %s", error)


def answer(frames: list[Buffer], report: StatusReport, desk: OrderDesk, peer: bytes) -> list[Buffer] | None:
    """Return the answer to one control message, as frames; None where none is due, or none yet."""
    try:
        message = decode(frames, CONTROL_LIMITS)
        if isinstance(message, OrderRequest):
            desk.take_in(message, peer)
            return None
        reply = _answer(message, report)
        return None if reply is None else encode(reply)
    except PredictdError as error:
        return encode(ErrorResponse.from_error(request_id_of(frames), error))
    except Exception:  # a bug of ours must not silence the control socket
        return _fault(request_id_of(frames))


def packed(message: Message) -> list[Buffer]:
    """Return an order's answer as frames; where it can't be packed, that in its place."""
    try:
        return encode(message)
    except Exception:  # likewise
        return _fault(getattr(message, "id", 0))


def _fault(request_id: int | None) -> list[Buffer]:
    _log.exception("internal error while answering a control message")
    return encode(ErrorResponse.from_error(request_id, fault("answering")))


def _answer(message: Message, report: StatusReport) -> Message | None:
    if isinstance(message, Hello):
        return report.greeting.answer(message, is_draining=report.is_draining)
    if isinstance(message, StatusRequest):
        return StatusResponse(id=message.id, status=report.status())
    if isinstance(message, MetadataRequest):
        return MetadataResponse(id=message.id, models=report.versions(message.model))
    if isinstance(message, CancelRequest):
        return None
    text = f"a {type(message).__name__} does not belong on the control socket; predict on the data socket"
    raise RemoteProtocolError(text)
