"""The order desk: where orders of clients wait for the models thread, and answers for the control thread.

Owns the hand-over between the two threads, its bound, and that each order is answered once. It carries nothing out and
touches no socket. `take_in` and `take_answers` are the control thread's, `next` and `next_label` are the models
thread's, the rest any thread's.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Condition
from time import monotonic

from predictd_proto.errors import ExpiredInQueueError, OverloadedError, PredictdError, ServerDrainingError
from predictd_proto.messages import ErrorResponse, Message
from predictd_proto.orders import LabelRequest, OrderRequest, OrderResponse

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
        self._is_closed = False
        self._is_woken = False
        # Guards what is above and below but the answers.
        self._changed = Condition()
        self._waiting: deque[Order] = deque()
        self._open: dict[Order, None] = {}
        self._answers: SimpleQueue[tuple[bytes, Message]] = SimpleQueue()
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when there are answers."""
        return self._reader

    # --- the control thread's ----------------------------------------------------------------------------------------

    def take_in(self, request: OrderRequest, peer: bytes) -> None:
        """Let an order wait for the models thread.

        Raises:
            ServerDrainingError: The server shuts down.
            OverloadedError: Too many are waiting.
        """
        timeout_ms = request.timeout_ms
        order = Order(request, peer, None if timeout_ms is None else self._clock() + timeout_ms / 1000)
        with self._changed:
            if self._is_closed:
                text = "the server is shutting down and takes no more orders; try again when it is back"
                raise ServerDrainingError(text)
            if len(self._open) >= self._most:
                text = f"{len(self._open)} orders wait already, and no more are taken; try again when some are done"
                raise OverloadedError(text, {"retry_after_ms": RETRY_MS})
            self._open[order] = None
            self._waiting.append(order)
            self._changed.notify_all()

    def take_answers(self) -> list[tuple[bytes, Message]]:
        """Return the answers there are, each with its client's routing id."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 4096)
        taken: list[tuple[bytes, Message]] = []
        with contextlib.suppress(Empty):
            while True:
                taken.append(self._answers.get_nowait())
        return taken

    # --- the models thread's -----------------------------------------------------------------------------------------

    def next(self, wait_s: float | None) -> Order | None:
        """Return the next order whose client still waits; None when there is none in time, or the desk was closed.

        Args:
            wait_s: How long to wait for one; None for as long as it takes.
        """
        return self._next(wait_s, lambda: self._waiting[0] if self._waiting else None)

    def next_label(self, wait_s: float | None) -> Order | None:
        """Return the next order that need not wait for a load: a label, unless something else for its model waits.

        Args:
            wait_s: How long to wait for one; None for as long as it takes, or until `wake`.
        """
        return self._next(wait_s, self._first_label)

    def _next(self, wait_s: float | None, choose: Callable[[], Order | None]) -> Order | None:
        until_s = None if wait_s is None else monotonic() + wait_s
        while True:
            left_s = None if until_s is None else max(until_s - monotonic(), 0.0)
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed or self._is_woken or choose() is not None, left_s)
                order = choose()
                if self._is_closed or order is None:
                    # Nowhere else: who is given an order, or waits on after a late one, has still to learn of it.
                    self._is_woken = False
                    return None
                self._waiting.remove(order)
            if order.deadline_s is None or self._clock() < order.deadline_s:
                return order
            text = (
                f"the order's time was up before its turn came, and it was not carried out ({order.request}); give it "
                "more time (timeout_ms): a load may take minutes"
            )
            self.fail(order, ExpiredInQueueError(text))

    def _first_label(self) -> Order | None:
        held: set[str | None] = set()
        for order in self._waiting:
            name = order.request.model
            if isinstance(order.request, LabelRequest) and not held & {name, None}:
                return order
            held.add(name)
        return None

    # --- any thread's ------------------------------------------------------------------------------------------------

    def answer(self, order: Order, response: OrderResponse | ErrorResponse) -> None:
        """Send an order's answer on its way; nothing where it has one."""
        with self._changed:
            if order not in self._open:
                return
            del self._open[order]
        self._answers.put((order.peer, response))
        # A full pipe has bytes enough to wake its reader.
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, b".")

    def fail(self, order: Order, error: PredictdError) -> None:
        """Answer an order with an error."""
        self.answer(order, ErrorResponse.from_error(order.request.id, error))

    def wake(self) -> None:
        """Let who waits for an order wait no longer."""
        with self._changed:
            self._is_woken = True
            self._changed.notify_all()

    def close(self) -> None:
        """Take no more orders; those that have no answer, the one under way too, are answered with an error."""
        with self._changed:
            self._is_closed = True
            waiting, under_way = set(self._waiting), list(self._open)
            self._waiting.clear()
            self._changed.notify_all()
        for order in under_way:
            what = "not begun" if order in waiting else "not finished"
            text = f"the server is shutting down; this order was {what}: give it again when the server is back"
            self.fail(order, ServerDrainingError(text))
