"""The kinds of call that are compared: one function each, which asks for one row and returns when the answer is there.

Owns how a row is asked for: through the client, through Keras' words, or by ready-made frames over a bare socket. It is
made once, so that connecting and learning the signature are never measured. Any thread; a call belongs to one caller.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import zmq

import predictd
from benchmarks.workloads import WORKLOADS, Workload
from predictd_proto.frames import ENVELOPE_BYTES, encode
from predictd_proto.messages import PredictRequest
from predictd_proto.tensors import Tensor

#: A caller without an answer for this long makes the whole measurement fail.
ANSWER_TIMEOUT_MS = 60_000

CLIENT, MODEL, FRAMES, RECEIPTS = "client", "model", "frames", "receipts"
#: All callers of a process in one thread: ready-made frames (`pipe.py`), and the tasks of one client (`tasks.py`).
PIPE, TASKS = "pipe", "tasks"

Call = Callable[[], object]

#: Of a thread in one turn: when each call ended, and how long it took.
Record = tuple[list[float], list[float]]


class Calls:
    """Makes calls; they share a client, as threads of a program do, and each has a bare socket of its own."""

    def __init__(self) -> None:
        self.context = zmq.Context()
        self.context.set(zmq.MAX_SOCKETS, 4096)
        self._clients: dict[str, predictd.Client] = {}
        self._made: dict[tuple[str, str, str], list[Call]] = {}
        #: How long the graph ran for each call of kind `RECEIPTS`, in ms.
        self.execute_ms: list[float] = []

    def of(self, kind: str, endpoint: str, name: str, count: int) -> list[Call]:
        """Return so many calls of one kind, connected and warm."""
        made = self._made.setdefault((kind, endpoint, name), [])
        while len(made) < count:
            call = self._new(kind, endpoint, WORKLOADS[name])
            call()
            made.append(call)
        return made[:count]

    def _new(self, kind: str, endpoint: str, workload: Workload) -> Call:
        if kind == FRAMES:
            return self._frames(endpoint, workload)
        client = self._clients.setdefault(endpoint, predictd.Client(endpoint))
        row, name = workload.row(), workload.name
        if kind == MODEL:
            model = predictd.RemoteModel(name, endpoint=endpoint)
            return lambda: model.predict(row, verbose=0)
        if kind == CLIENT:
            return lambda: client.predict(name, row, timeout_ms=ANSWER_TIMEOUT_MS)

        def receipt() -> None:
            self.execute_ms.append(client.predict(name, row, timeout_ms=ANSWER_TIMEOUT_MS).receipt.execute_ms)

        return receipt

    def _frames(self, endpoint: str, workload: Workload) -> Call:
        """Send a request's frames and take whatever frames come back: no packing, no reading, no deadline, no retry."""
        dealer = self.context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.setsockopt(zmq.RCVTIMEO, ANSWER_TIMEOUT_MS)
        dealer.connect(endpoint)
        frames = request_frames(workload)
        dealer.send_multipart(frames)
        kind = bytes(dealer.recv_multipart()[0][:ENVELOPE_BYTES])

        def call() -> object:
            dealer.send_multipart(frames)
            answer = dealer.recv_multipart()
            # A refusal would be the fastest answer of all.
            if answer[0][:ENVELOPE_BYTES] != kind:
                text = f"{endpoint} gave another kind of answer than before: {answer[0]!r}"
                raise RuntimeError(text)
            return answer

        return call


def request_frames(workload: Workload, number: int = 1) -> list[Any]:
    """Return a predict request for one row, as it travels."""
    tensor = Tensor.from_array(workload.input_name, workload.row())
    # A float, as clients send it: only what is byte for byte of a known kind takes the server's fast road.
    timeout_ms = float(ANSWER_TIMEOUT_MS)
    return list(encode(PredictRequest(id=number, model=workload.name, tensors=(tensor,), timeout_ms=timeout_ms)))


def sleep_until(when_s: float) -> None:
    """Sleep until a time of the monotonic clock."""
    left_s = when_s - time.monotonic()
    if left_s > 0:
        time.sleep(left_s)
