"""Real sockets, pump, engine and control around a model that runs for as long as the test wants. No TensorFlow."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import inf
from typing import Any

import numpy as np
import zmq

from predictd_proto.frames import decode, encode
from predictd_proto.messages import ErrorResponse, Message, PredictRequest, PredictResponse
from predictd_proto.tensors import Tensor
from predictd_server.engine import Engine
from predictd_server.models.orders import OrderDesk
from predictd_server.serving.core import Core
from predictd_server.serving.counters import Counters
from predictd_server.settings import Settings
from predictd_server.sockets.control import Control
from predictd_server.sockets.frontend import Frontend
from predictd_server.sockets.routers import new_context
from predictd_server.sockets.segments import SegmentQuotas, Segments
from predictd_server.status_report import StatusReport
from tests.server.fake_model import CoreBench, DoublingRunner, doubling_spec, rows, served

QUOTAS = SegmentQuotas(max_segments=64, max_bytes=256 << 20, max_client_segments=16, max_client_bytes=64 << 20)

#: A run that has this in a row goes on until `PumpBench.open_gate`.
GATE = 999.0


class GatedRunner(DoublingRunner):
    """A doubling model whose runs can be held."""

    def __init__(self) -> None:
        super().__init__()
        self.is_running = threading.Event()
        self.gate = threading.Event()

    def run(self, inputs: Sequence[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        if (inputs[0] == GATE).any():
            self.is_running.set()
            assert self.gate.wait(100), "the test never opened the gate"
        return super().run(inputs)


class Caller:
    """A client's socket, spoken to directly."""

    def __init__(self, context: zmq.Context, endpoint: str, routing_id: bytes | None = None) -> None:
        self.socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVTIMEO, 60_000)
        if routing_id is not None:
            self.socket.setsockopt(zmq.ROUTING_ID, routing_id)
        self.socket.connect(endpoint)

    def send(self, message: Message) -> None:
        self.socket.send_multipart(encode(message))

    def ask(self, request_id: int, array: np.ndarray | None = None, **fields: Any) -> None:
        tensor = Tensor.from_array("x0", rows(1, request_id) if array is None else array)
        self.send(PredictRequest(id=request_id, model=fields.pop("model", "m"), tensors=(tensor,), **fields))

    def answer(self) -> PredictResponse | ErrorResponse:
        message = decode(self.socket.recv_multipart())
        assert isinstance(message, (PredictResponse, ErrorResponse)), message
        return message

    def close(self, linger_ms: int = 0) -> None:
        self.socket.close(linger_ms)


class PumpBench:
    """What a test drives and looks at."""

    def __init__(self, core: Core, frontend: Frontend, runner: GatedRunner, endpoint: str) -> None:
        self.core = core
        self.counters: Counters = core.counters
        self.frontend = frontend
        self.runner = runner
        self.endpoint = endpoint
        self.context: zmq.Context = zmq.Context()
        self.context.set(zmq.MAX_SOCKETS, 4096)
        self.callers: list[Caller] = []

    def caller(self, routing_id: bytes | None = None) -> Caller:
        caller = Caller(self.context, self.endpoint, routing_id)
        self.callers.append(caller)
        return caller

    def hold(self) -> Caller:
        """Start a run that ends when the gate is opened; return whose it is."""
        caller = self.caller()
        caller.ask(0, np.full((1, 3), GATE, np.float32))
        assert self.runner.is_running.wait(60)
        return caller

    def open_gate(self) -> None:
        self.runner.gate.set()

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"it did not come: {self.counters.snapshot()}"
            time.sleep(0.005)

    def wait_queued(self, count: int) -> None:
        self.wait_for(lambda: self.core.waiting_requests == count)


@contextmanager
def running_pump(
    *,
    runs_inline: bool = False,
    inline_s: float = -1.0,
    endpoint: str | None = None,
    max_batch_size: int = 8,
    window_s: float = 0.0,
    quotas: SegmentQuotas = QUOTAS,
) -> Iterator[PumpBench]:
    """A pump, ended with the block.

    Args:
        runs_inline: Whether the pump's own thread runs the batches.
        inline_s: Else it runs those that are expected to take no longer.
        endpoint: Where it listens; None for a Unix socket.
        max_batch_size: Rows of a batch.
        window_s: Batch window.
        quotas: What it maps of its callers' memory.
    """
    bench = CoreBench(max_batch_size=max_batch_size, window_s=window_s, max_rows=100_000, max_bytes=1 << 30)
    segments = Segments(quotas, bench.counters)
    bench.core.memory = segments
    runner = GatedRunner()
    spec = replace(doubling_spec((None, 3)), input_structure="x0", output_structure="y0")
    bench.registry.put(served(spec, runner, max_batch_size))
    context = new_context()
    with tempfile.TemporaryDirectory(prefix="pd-", dir="/tmp") as directory:
        frontend = Frontend(
            context,
            endpoint=endpoint or f"ipc://{directory}/p.sock",
            limits=bench.limits,
            counters=bench.counters,
            inline_s=inf if runs_inline else inline_s,
            segments=segments,
        )
        engine = Engine(bench.counters, wake=frontend.wake)
        frontend.bind()
        address = endpoint if endpoint and endpoint.startswith("ipc://") else f"ipc://{directory}/p.sock"
        control = Control(context, endpoint=f"{address}.control")
        control.bind()
        control.start(report_of(bench, frontend, engine), OrderDesk())
        engine.start()
        frontend.start(bench.core, engine)
        pump = PumpBench(bench.core, frontend, runner, frontend._socket.get_string(zmq.LAST_ENDPOINT))
        try:
            yield pump
        finally:
            pump.open_gate()
            frontend.drain(time.monotonic() + 60)
            assert frontend.join(100)
            engine.stop()
            control.stop(100)
            context.term()
            for caller in pump.callers:
                caller.close()
            pump.context.term()


def report_of(bench: CoreBench, frontend: Frontend, engine: Engine) -> StatusReport:
    return StatusReport(
        settings=Settings(),
        endpoint="the test's own",
        greeting=bench.greeting,
        core=bench.core,
        engine=engine,
        frontend=frontend,
        runtime=dict,
        started_s=time.monotonic(),
    )
