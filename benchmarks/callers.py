"""Closed-loop callers: processes with threads that each call, wait for the answer, and call again.

Owns the three kinds of call that are compared. Each process is spawned anew, without anything of the parent.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import zmq

import predictd
from predictd_proto.frames import encode
from predictd_proto.messages import PredictRequest
from predictd_proto.tensors import Tensor

MODEL = "mlp"
WIDTH = 64

#: A thread that gets no answer for this long makes the whole measurement fail.
ANSWER_TIMEOUT_MS = 20_000


@dataclass(frozen=True)
class Load:
    """What some callers achieved.

    Attributes:
        per_second: Calls per second, all callers together.
        p50_us: Median time of one call in microseconds.
        p99_us: Its 99th percentile.
        client_cpu_us: Processor time of the calling processes per call, in microseconds.
    """

    per_second: float
    p50_us: float
    p99_us: float
    client_cpu_us: float


def request_frame() -> bytes:
    """Return a predict request for one row `float32[1, 64]`, as it travels."""
    row = np.linspace(0, 1, WIDTH, dtype=np.float32)[None]
    tensor = Tensor.from_array("pixels", row)
    return bytes(encode(PredictRequest(id=1, model=MODEL, tensors=(tensor,), timeout_ms=30_000.0))[0])


def bare_caller(context: zmq.Context, endpoint: str) -> Callable[[], object]:  # type: ignore[type-arg]
    """Send the request's frame over a DEALER and take whatever frame comes back: no packing, no reading, no retries."""
    dealer = context.socket(zmq.DEALER)
    dealer.setsockopt(zmq.LINGER, 0)
    dealer.setsockopt(zmq.RCVTIMEO, ANSWER_TIMEOUT_MS)
    dealer.connect(endpoint)
    frame = request_frame()

    def call() -> object:
        dealer.send(frame)
        return dealer.recv()

    return call


def client_caller(client: predictd.Client) -> Callable[[], object]:
    """Call `Client.predict` with one row; the client is shared by all threads of the process."""
    row = np.linspace(0, 1, WIDTH, dtype=np.float32)[None]

    def call() -> object:
        return client.predict(MODEL, row, timeout_ms=ANSWER_TIMEOUT_MS)

    return call


def measure(kind: str, endpoint: str, *, processes: int, threads: int, seconds: float) -> Load:
    """Run callers and return what they achieved.

    Args:
        kind: "bare" or "client".
        endpoint: Whom to call.
        processes: Calling processes.
        threads: Callers in each.
        seconds: How long to call.
    """
    spawn = multiprocessing.get_context("spawn")
    results = spawn.Queue()
    start = spawn.Barrier(processes)
    workers = [
        spawn.Process(target=_work, args=(kind, endpoint, threads, seconds, start, results)) for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    parts = [results.get(timeout=seconds + 60) for _ in workers]
    for worker in workers:
        worker.join()
    times_us = np.concatenate([part[0] for part in parts])
    return Load(
        per_second=sum(len(part[0]) / part[1] for part in parts),
        p50_us=float(np.percentile(times_us, 50)),
        p99_us=float(np.percentile(times_us, 99)),
        client_cpu_us=sum(part[2] for part in parts) * 1e6 / len(times_us),
    )


def _work(kind: str, endpoint: str, threads: int, seconds: float, start: Any, results: Any) -> None:
    context = zmq.Context()
    client = predictd.Client(endpoint)
    calls = [bare_caller(context, endpoint) if kind == "bare" else client_caller(client) for _ in range(threads)]
    times: list[list[float]] = [[] for _ in range(threads)]
    for call in calls:
        call()
    begin = threading.Barrier(threads + 1)
    end = [0.0]
    pool = [threading.Thread(target=_loop, args=(calls[i], times[i], begin, end)) for i in range(threads)]
    for thread in pool:
        thread.start()
    start.wait(timeout=60)
    started, started_cpu = time.perf_counter(), time.process_time()
    end[0] = started + seconds
    begin.wait()
    for thread in pool:
        thread.join()
    took = time.perf_counter() - started
    all_times = np.array([value for one in times for value in one]) * 1e6
    results.put((all_times, took, time.process_time() - started_cpu))
    client.close()
    context.destroy(0)


def _loop(call: Callable[[], object], times: list[float], begin: threading.Barrier, end: list[float]) -> None:
    begin.wait()
    before = time.perf_counter()
    while before < end[0]:
        call()
        after = time.perf_counter()
        times.append(after - before)
        before = after
