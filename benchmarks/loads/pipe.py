"""Many requests under way from one thread: ready-made frames on as few DEALERs as carry them, each with its own id.

Owns the cheapest way of offering a load. A thread for each request that waits until it is due costs 108 us a request
where callers that ask on and on cost 64: on two cores the open loop of such threads measures itself. One thread belongs
to one pipe; nothing is packed, read or checked but the answer's kind and id.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterable
from typing import Any

import zmq

from benchmarks.loads.calls import ANSWER_TIMEOUT_MS, Record, request_frames, sleep_until
from benchmarks.workloads import Workload
from predictd_proto.frames import ENVELOPE_BYTES

#: Requests under way on one connection: proto/WIRE.md, section 7.
MOST_ON_CONNECTION = 64

CONNECTIONS = 2

#: Requests beyond this wait on this side, and count as late.
MOST_UNDER_WAY = CONNECTIONS * MOST_ON_CONNECTION

#: Ids from here on all take as many bytes.
_FIRST_ID = 1 << 40
_ID_BYTES = 8


class Pipe:
    """A few sockets with requests for one row.

    Args:
        context: Makes the socket.
        endpoint: Where the server listens.
        workload: What is asked for.

    Raises:
        RuntimeError: The first answer does not hold the request's id.
    """

    def __init__(self, context: Any, endpoint: str, workload: Workload) -> None:
        self._dealers = [_connected(context, endpoint) for _ in range(CONNECTIONS)]
        self._descriptors = [dealer.getsockopt(zmq.FD) for dealer in self._dealers]
        self._endpoint = endpoint
        #: How many of the connections are in use, and how many requests are under way on each.
        self._used = 1
        self._on_each = [0] * CONNECTIONS
        header, *self._tensors = request_frames(workload, _FIRST_ID)
        first = _FIRST_ID.to_bytes(_ID_BYTES, "big")
        self._before, self._after = bytes(header).split(first)
        self._next_id = _FIRST_ID
        #: When each request that is under way was due.
        self._dues: dict[int, float] = {}
        self._record: Record = ([], [])
        self._dealers[0].send_multipart(self._frames(_FIRST_ID))
        answer = self._dealers[0].recv_multipart()[0]
        self._kind = answer[:ENVELOPE_BYTES]
        self._place = answer.find(first)
        if self._place < 0:
            text = f"{endpoint} answered without the request's id: {answer[:80]!r}"
            raise RuntimeError(text)

    def closed(self, under_way: int, first_s: float, end_s: float) -> Record:
        """Keep so many requests under way from one time to another; return when each was answered, and how late.

        Raises:
            ValueError: There are not enough connections for so many.
        """
        if under_way > MOST_UNDER_WAY:
            text = f"{under_way} requests under way; {CONNECTIONS} connections carry {MOST_UNDER_WAY}"
            raise ValueError(text)
        self._used = -(-under_way // MOST_ON_CONNECTION)
        self._record = ([], [])
        sleep_until(first_s)
        now = time.monotonic()
        for _ in range(under_way):
            self._send(now)
        while self._dues:
            answered = self._take()
            now = time.monotonic()
            if now < end_s:
                for _ in range(answered):
                    self._send(now)
            if not answered:
                self._wait(ANSWER_TIMEOUT_MS / 1000)
        return self._record

    def open(self, dues: Iterable[float]) -> Record:
        """Ask whenever a request is due; return when each was answered, and how long after it was due."""
        self._used = CONNECTIONS
        self._record = ([], [])
        for due_s in dues:
            while True:
                answered = self._take()
                left_s = due_s - time.monotonic()
                is_full = len(self._dues) >= MOST_UNDER_WAY
                if left_s <= 0 and not is_full:
                    break
                if not answered:
                    self._wait(ANSWER_TIMEOUT_MS / 1000 if is_full else left_s, is_answer_due=is_full)
            self._send(due_s)
        while self._dues:
            if not self._take():
                self._wait(ANSWER_TIMEOUT_MS / 1000)
        return self._record

    def _frames(self, number: int) -> list[Any]:
        return [self._before + number.to_bytes(_ID_BYTES, "big") + self._after, *self._tensors]

    def _send(self, due_s: float) -> None:
        self._next_id += 1
        self._dues[self._next_id] = due_s
        place = 0 if self._used == 1 else self._on_each.index(min(self._on_each))
        self._on_each[place] += 1
        self._dealers[place].send_multipart(self._frames(self._next_id), copy=True)

    def _take(self) -> int:
        """Take all answers that are here; return how many."""
        return sum([self._take_from(place) for place in range(self._used)])

    def _take_from(self, place: int) -> int:
        count = 0
        ends, took = self._record
        dealer = self._dealers[place]
        while True:
            try:
                answer = dealer.recv_multipart(zmq.NOBLOCK)[0]
            except zmq.Again:
                self._on_each[place] -= count
                return count
            # A refusal would be the fastest answer of all.
            if answer[:ENVELOPE_BYTES] != self._kind:
                text = f"{self._endpoint} gave another kind of answer than before: {answer[:200]!r}"
                raise RuntimeError(text)
            now = time.monotonic()
            number = int.from_bytes(answer[self._place : self._place + _ID_BYTES], "big")
            ends.append(now)
            took.append(now - self._dues.pop(number))
            count += 1

    def _wait(self, seconds: float, *, is_answer_due: bool = True) -> None:
        # The socket's own poll counts in milliseconds: too coarse for thousands of requests a second. Its descriptor
        # tells of a change once, which the receive that found nothing has just taken.
        came = select.select(self._descriptors[: self._used], [], [], seconds)[0]
        if is_answer_due and not came:
            text = f"{self._endpoint} said nothing for {seconds:.0f} s with {len(self._dues)} requests under way"
            raise RuntimeError(text)


def _connected(context: Any, endpoint: str) -> Any:
    dealer = context.socket(zmq.DEALER)
    for option in (zmq.LINGER, zmq.SNDHWM, zmq.RCVHWM):
        dealer.setsockopt(option, 0)
    dealer.connect(endpoint)
    return dealer
