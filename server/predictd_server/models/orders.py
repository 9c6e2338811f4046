"""The order desk: where orders of clients wait for the loader, and answers for the control thread.

Owns the hand-over between the two threads and its bound. It carries nothing out and touches no socket. `take_in` and
`take_answers` are the control thread's, `next` is the loader's, `answer` any thread's.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from time import monotonic

from predictd_proto.errors import ExpiredInQueueError, OverloadedError, PredictdError, ServerDrainingError
from predictd_proto.messages import ErrorResponse, Message
from predictd_proto.orders import OrderRequest, OrderResponse

#: Orders that wait or are carried out at once; people and deployment scripts give a few.
MOST_ORDERS = 32
RETRY_MS = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """One order of one client.

    Attributes:
        request: What is to be done.
        peer: Routing id of the client's socket.
        deadline_s: When its client stops waiting (monotonic); None for never.
    """

    request: OrderRequest
    peer: bytes
    deadline_s: float | None


class OrderDesk:
    """Orders on their way in, answers on their way out.

    Args:
        most: How many may be open at once.
        clock: Monotonic seconds.
    """

    def __init__(self, most: int = MOST_ORDERS, clock: Callable[[], float] = monotonic) -> None:
        self._most = most
        self._clock = clock
        self._open = 0
        self._is_closed = False
        self._orders: SimpleQueue[Order | None] = SimpleQueue()
        self._answers: SimpleQueue[tuple[bytes, Message]] = SimpleQueue()
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when there are answers."""
        return self._reader

    # --- the control thread's ----------------------------------------------------------------------------------------

    def take_in(self, request: OrderRequest, peer: bytes) -> None:
        """Let an order wait for the loader.

        Raises:
            ServerDrainingError: The server shuts down.
            OverloadedError: Too many are waiting.
        """
        if self._is_closed:
            raise _draining()
        if self._open >= self._most:
            text = f"{self._open} orders wait already, and no more are taken; try again when some are done"
            raise OverloadedError(text, {"retry_after_ms": RETRY_MS})
        self._open += 1
        timeout_ms = request.timeout_ms
        self._orders.put(Order(request, peer, None if timeout_ms is None else self._clock() + timeout_ms / 1000))

    def take_answers(self) -> list[tuple[bytes, Message]]:
        """Return the answers there are, each with its client's routing id."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 4096)
        taken: list[tuple[bytes, Message]] = []
        with contextlib.suppress(Empty):
            while True:
                taken.append(self._answers.get_nowait())
        self._open -= len(taken)
        return taken

    # --- the loader's ------------------------------------------------------------------------------------------------

    def next(self, wait_s: float | None) -> Order | None:
        """Return the next order whose client still waits; None when there is none in time, or the desk was closed.

        Args:
            wait_s: How long to wait for one; None for as long as it takes.
        """
        while not self._is_closed:
            try:
                order = self._orders.get(timeout=wait_s)
            except Empty:
                return None
            if order is None or self._is_closed:
                self._refuse(order)
                return None
            if order.deadline_s is None or self._clock() < order.deadline_s:
                return order
            text = (
                f"the order's time was up before its turn came, and it was not carried out ({order.request}); give it "
                "more time (timeout_ms): a load may take minutes"
            )
            self.fail(order, ExpiredInQueueError(text))
        return None

    def answer(self, order: Order, response: OrderResponse | ErrorResponse) -> None:
        """Send an order's answer on its way."""
        self._answers.put((order.peer, response))
        # A full pipe has bytes enough to wake its reader.
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, b".")

    def fail(self, order: Order, error: PredictdError) -> None:
        """Answer an order with an error."""
        self.answer(order, ErrorResponse.from_error(order.request.id, error))

    # --- any thread's ------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Take no more orders; those that wait are answered with an error, and the loader is woken."""
        self._is_closed = True
        with contextlib.suppress(Empty):
            while True:
                self._refuse(self._orders.get_nowait())
        self._orders.put(None)

    def _refuse(self, order: Order | None) -> None:
        if order is not None:
            self.fail(order, _draining())


def _draining() -> ServerDrainingError:
    return ServerDrainingError("the server is shutting down and takes no more orders; try again when it is back")
