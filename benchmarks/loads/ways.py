"""Ways of asking, each of which keeps a number of requests in flight: the bare loop and every kind of client.

Owns these loops. Each is made once, so that connecting and learning the signature are not measured, and then run for as
long as it is told; the process around them (`asking_process.py`) reads its processor time before and after.

The bare loop is what a program would do without predictd and without any of its promises: one DEALER, one thread; it
packs the same header with msgpack around the same row, sends it, waits in `recv` for an answer, unpacks that answer's
header and makes an array of its bytes. No deadline, no check, no retry, no receipt. With several requests in flight it
sends that many first, and then one more for every answer. In greenlets and tasks its socket is pyzmq's own for gevent
and for asyncio; tasks share one, and a task of its own hands the answers out.
"""

from __future__ import annotations

import itertools
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from types import ModuleType
from typing import Any, cast

import msgpack
import numpy as np
import zmq

import predictd
from benchmarks.workloads import A
from predictd_proto.frames import ENVELOPE_BYTES, envelope
from predictd_proto.messages import PredictRequest

MODEL = A.name

#: A request without an answer for this long makes the measurement fail.
ANSWER_TIMEOUT_MS = 20_000

#: Asks for some seconds and returns how many answers came.
Run = Callable[[float], int]


_FIRST_ID = 1 << 40
_BEGIN = envelope(PredictRequest)


_PIXELS = A.row()


def _connected(context: Any, endpoint: str) -> Any:
    dealer = context.socket(zmq.DEALER)
    dealer.setsockopt(zmq.LINGER, 0)
    dealer.setsockopt(zmq.RCVTIMEO, ANSWER_TIMEOUT_MS)
    dealer.connect(endpoint)
    return dealer


def _request(number: int) -> bytes:
    header = {
        "id": _FIRST_ID + number,
        "timeout_ms": 30_000.0,
        "model": MODEL,
        "tensors": [(A.input_name, "float32", _PIXELS.shape, _PIXELS.tobytes())],
    }
    return _BEGIN + cast("bytes", msgpack.packb(header))


def _answer(frame: bytes) -> object:
    return _numbered(frame)[1]


def _numbered(frame: bytes) -> tuple[int, object]:
    """Return the number that the request had, and what was answered."""
    header = msgpack.unpackb(frame[ENVELOPE_BYTES:])
    _name, dtype, shape, data = header["tensors"][0]
    return header["id"] - _FIRST_ID, np.frombuffer(data, dtype).reshape(shape)


def bare(endpoint: str, in_flight: int) -> Run:
    """One DEALER in one thread, with some requests in flight."""
    dealer = _connected(_zmq().Context.instance(), endpoint)
    ids = itertools.count()

    def run(seconds: float) -> int:
        count = 0
        end = time.perf_counter() + seconds
        for _ in range(in_flight):
            dealer.send(_request(next(ids)))
        while time.perf_counter() < end:
            _answer(dealer.recv())
            dealer.send(_request(next(ids)))
            count += 1
        for _ in range(in_flight):
            _answer(dealer.recv())
        return count + in_flight

    return run


def bare_threads(endpoint: str, in_flight: int) -> Run:
    """As many threads (or greenlets) as requests in flight, each with a bare loop of its own."""
    return _in_threads([bare(endpoint, 1) for _ in range(in_flight)])


def bare_tasks(endpoint: str, in_flight: int) -> Run:
    """As many asyncio tasks as requests in flight, all of them on one of pyzmq's own sockets for asyncio."""
    import asyncio

    import zmq.asyncio

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    dealer = _connected(zmq.asyncio.Context(), endpoint)
    ids = itertools.count()
    waiting: dict[int, asyncio.Future[object]] = {}

    async def alone(end: float) -> int:
        count = 0
        while time.perf_counter() < end:
            await dealer.send(_request(next(ids)))
            _answer(await dealer.recv())
            count += 1
        return count

    async def ask(end: float) -> int:
        count = 0
        while time.perf_counter() < end:
            number = next(ids)
            waiting[number] = answered = loop.create_future()
            await dealer.send(_request(number))
            await answered
            count += 1
        return count

    async def receive() -> None:
        while True:
            number, outputs = _numbered(await dealer.recv())
            waiting.pop(number).set_result(outputs)

    async def ask_all(seconds: float) -> int:
        end = time.perf_counter() + seconds
        if in_flight == 1:
            return await alone(end)
        receiver = asyncio.ensure_future(receive())
        counts = await asyncio.gather(*(ask(end) for _ in range(in_flight)))
        receiver.cancel()
        return sum(counts)

    return lambda seconds: loop.run_until_complete(ask_all(seconds))


def client(endpoint: str, in_flight: int) -> Run:
    """As many threads (or, in a process that gevent patched, greenlets) as requests in flight, sharing one client."""
    shared, pixels = predictd.Client(endpoint), _PIXELS

    def run(seconds: float) -> int:
        count = 0
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            shared.predict(MODEL, pixels)
            count += 1
        return count

    return run if in_flight == 1 else _in_threads([run] * in_flight)


def remote_model(endpoint: str, in_flight: int) -> Run:
    """The same in Keras' words."""
    shared, pixels = predictd.RemoteModel(MODEL, endpoint=endpoint), _PIXELS

    def run(seconds: float) -> int:
        count = 0
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            shared.predict(pixels, verbose=0)
            count += 1
        return count

    return run if in_flight == 1 else _in_threads([run] * in_flight)


def submit(endpoint: str, in_flight: int) -> Run:
    """One thread that submits, with a window of some futures."""
    shared, pixels = predictd.Client(endpoint), _PIXELS

    def run(seconds: float) -> int:
        count = 0
        futures = deque(shared.submit(MODEL, pixels) for _ in range(in_flight))
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            futures.popleft().result(ANSWER_TIMEOUT_MS / 1000)
            futures.append(shared.submit(MODEL, pixels))
            count += 1
        for future in futures:
            future.result(ANSWER_TIMEOUT_MS / 1000)
        return count + in_flight

    return run


def mapped(endpoint: str, in_flight: int) -> Run:
    """One thread that takes the answers from `Client.map`."""
    shared, pixels = predictd.Client(endpoint), _PIXELS

    def run(seconds: float) -> int:
        end = time.perf_counter() + seconds
        rows = itertools.takewhile(lambda _: time.perf_counter() < end, itertools.repeat(pixels))
        return sum(1 for _ in shared.map(MODEL, rows, window=in_flight))

    return run


def asyncio_client(endpoint: str, in_flight: int) -> Run:
    """As many tasks as requests in flight, sharing one client."""
    import asyncio

    loop = asyncio.new_event_loop()
    shared, pixels = predictd.AsyncClient(endpoint), _PIXELS

    async def ask(end: float) -> int:
        count = 0
        while time.perf_counter() < end:
            await shared.predict(MODEL, pixels)
            count += 1
        return count

    async def ask_all(seconds: float) -> int:
        end = time.perf_counter() + seconds
        return sum(await asyncio.gather(*(ask(end) for _ in range(in_flight))))

    return lambda seconds: loop.run_until_complete(ask_all(seconds))


WAYS: dict[str, Callable[[str, int], Run]] = {
    "bare": bare,
    "bare threads": bare_threads,
    "bare tasks": bare_tasks,
    "client": client,
    "model": remote_model,
    "submit": submit,
    "map": mapped,
    "asyncio": asyncio_client,
}


def _zmq() -> ModuleType:
    if getattr(select.select, "__module__", "").startswith("gevent"):
        from zmq import green

        return green
    return zmq


def _in_threads(runs: list[Run]) -> Run:
    def run(seconds: float) -> int:
        counts = [0] * len(runs)

        def count(place: int) -> None:
            counts[place] = runs[place](seconds)

        threads = [threading.Thread(target=count, args=(place,)) for place in range(len(runs))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts)

    return run
