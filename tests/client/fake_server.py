"""A server without TensorFlow, with switches for everything that can go wrong.

It speaks the real wire on real sockets. As a thread (`FakeServer`) where a test looks inside; as a process
(`python -m tests.client.fake_server`, see `fake_process.py`) where a test has to kill or stop it.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import zmq

from predictd_proto.endpoints import Endpoint
from predictd_proto.errors import PredictdError
from predictd_proto.frames import decode, encode
from predictd_proto.limits import DEFAULT_LIMITS, Limits
from predictd_proto.messages import (
    ErrorResponse,
    Hello,
    Message,
    MetadataRequest,
    MetadataResponse,
    PredictRequest,
    PredictResponse,
    Receipt,
    StatusRequest,
    StatusResponse,
    Welcome,
)
from predictd_proto.metadata import ModelMetadata, SignatureSpec
from predictd_proto.status import ServerStatus
from predictd_proto.tensors import Tensor, TensorSpec

Arrays = dict[str, Any]


def signature(inputs: Any, outputs: Any, *, name: str = "serving_default", nest_in: Any = None, nest_out: Any = None):
    def specs(entries: dict[str, tuple[str, tuple[int | None, ...]]]) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(key, dtype, shape) for key, (dtype, shape) in entries.items())

    return SignatureSpec(
        name=name,
        inputs=specs(inputs),
        outputs=specs(outputs),
        input_structure=nest_in if nest_in is not None else next(iter(inputs)),
        output_structure=nest_out if nest_out is not None else next(iter(outputs)),
    )


def model(name: str, *signatures: SignatureSpec, version: int = 1, **fields: Any) -> ModelMetadata:
    values = {"state": "ready", "batch_sizes": (1, 8), "parameters": 12, "runner": "session", "source": name, **fields}
    return ModelMetadata(
        name=name, version=version, signatures=signatures, default_signature="serving_default", **values
    )


FLOAT_ROWS = ("float32", (None, 4))
DOUBLE = model("double", signature({"x": FLOAT_ROWS}, {"y": FLOAT_ROWS}))
PAIR = model(
    "pair",
    signature(
        {"a": FLOAT_ROWS, "b": ("int32", (None, 2))},
        {"sum": ("float32", (None,)), "twice": ("int32", (None, 2))},
        nest_in=["a", "b"],
        nest_out={"sum": "sum", "rest": ["twice"]},
    ),
)
NAMED = model(
    "named", signature({"a": FLOAT_ROWS, "b": FLOAT_ROWS}, {"y": FLOAT_ROWS}, nest_in={"left": "a", "right": "b"})
)
WORDS = model("words", signature({"s": ("string", (None,))}, {"t": ("string", (None,))}))
COLUMN = model("column", signature({"x": ("float32", (None, 1))}, {"y": ("float32", (None, 1))}))
RAGGED = model("ragged", signature({"x": ("float32", (None, None))}, {"y": ("float32", (None, None))}), batch_sizes=())

RUNS: dict[str, Callable[[Arrays], Arrays]] = {
    "double": lambda given: {"y": given["x"] * 2},
    "pair": lambda given: {"sum": given["a"].sum(axis=1), "twice": given["b"] * 2},
    "named": lambda given: {"y": given["a"] - given["b"]},
    "words": lambda given: {"t": np.array([b"<" + s + b">" for s in given["s"]], dtype=object)},
    "column": lambda given: {"y": given["x"] + 1},
    "ragged": lambda given: {"y": given["x"]},
}


def answer(request: PredictRequest, *, version: int = 1) -> PredictResponse:
    """Run a request as a server would."""
    given = {tensor.name: tensor.view() for tensor in request.tensors}
    outputs = RUNS[request.model](given)
    tensors = tuple(Tensor.from_array(name, array) for name, array in outputs.items())
    rows = request.tensors[0].shape[0]
    receipt = Receipt(model=request.model, version=version, queue_ms=0.1, execute_ms=0.2, batch_rows=rows)
    return PredictResponse(id=request.id, tensors=tensors, receipt=receipt)


class FakeServer:
    """A server on a thread.

    Attributes:
        models: What it serves.
        replies: What to do about a request: returns messages or frames to send back, in order. A list of such
            functions: each request uses one up, the last one stays.
        seen: Messages that came on the data socket.
        asked: Messages that came on the control socket.
    """

    def __init__(self, endpoint: str, *, server_id: str = "first", limits: Limits = DEFAULT_LIMITS) -> None:
        self.endpoint = Endpoint.parse(endpoint)
        self.server_id = server_id
        self.limits = limits
        self.models: list[ModelMetadata] = [DOUBLE, PAIR, NAMED, WORDS, COLUMN, RAGGED]
        self.state = "ready"
        self.replies: list[Callable[[PredictRequest], list[Any]]] = [lambda request: [answer(request)]]
        self.welcome: Callable[[Hello], Any] = self._welcome
        self.control_is_silent = False
        self.seen: list[Message] = []
        self.asked: list[Message] = []
        self._arrived = threading.Condition()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sockets: list[zmq.Socket[bytes]] = []
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._is_up = threading.Event()
        self._stop_reader, self._stop_writer = os.pipe()

    def __enter__(self) -> FakeServer:
        self._thread.start()
        assert self._is_up.wait(30)
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self._stop_writer >= 0:
            os.write(self._stop_writer, b"x")
            self._thread.join(30)
            os.close(self._stop_reader)
            os.close(self._stop_writer)
            self._stop_writer = -1
            self._context.term()

    def of(self, kind: type) -> list[Any]:
        return [message for message in self.seen if isinstance(message, kind)]

    def wait_for(self, kind: type, count: int = 1) -> list[Any]:
        """Wait until so many messages of a kind have come on the data socket."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.of(kind)) >= count, 30), f"no {kind.__name__} came"
        return self.of(kind)

    def _loop(self) -> None:
        data, control = (self._bound(address) for address in (self.endpoint.data, self.endpoint.control))
        self._is_up.set()
        poller = zmq.Poller()
        for source in (data, control, self._stop_reader):
            poller.register(source, zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if self._stop_reader in ready:
                break
            for socket in (data, control):
                if socket in ready:
                    self._serve(socket, is_control=socket is control)
        for socket in (data, control):
            socket.close(0)

    def _bound(self, address: str) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.ROUTER)
        socket.bind(address)
        return socket

    def _serve(self, socket: zmq.Socket[bytes], *, is_control: bool) -> None:
        peer, *frames = socket.recv_multipart()
        try:
            message = decode(frames)
        except PredictdError as error:
            socket.send_multipart([peer, *encode(ErrorResponse.from_error(None, error))])
            return
        replies = self._control_replies(message) if is_control else self._data_replies(message)
        with self._arrived:
            (self.asked if is_control else self.seen).append(message)
            self._arrived.notify_all()
        for reply in replies:
            socket.send_multipart([peer, *(reply if isinstance(reply, list) else encode(reply))])

    def _data_replies(self, message: Message) -> list[Any]:
        if isinstance(message, Hello):
            return self._greet(message)
        if isinstance(message, PredictRequest):
            reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
            return reply(message)
        return []

    def _control_replies(self, message: Message) -> list[Any]:
        if isinstance(message, Hello):
            return self._greet(message)
        if self.control_is_silent:
            return []
        if isinstance(message, MetadataRequest):
            found = tuple(m for m in self.models if message.model in {None, m.name})
            return [MetadataResponse(id=message.id, models=found)]
        assert isinstance(message, StatusRequest)
        return [StatusResponse(id=message.id, status=self.status())]

    def _greet(self, hello: Hello) -> list[Any]:
        said = self.welcome(hello)
        return [] if said is None else [said]

    def _welcome(self, hello: Hello) -> Welcome:
        del hello
        return Welcome(version=1, server_id=self.server_id, server="0", state=self.state, limits=self.limits)

    def status(self) -> ServerStatus:
        return ServerStatus(
            state=self.state,
            responsive=True,
            server_id=self.server_id,
            server="0",
            protocol=1,
            pid=os.getpid(),
            endpoint=str(self.endpoint),
            uptime_s=3700.0,
            models=tuple(self.models),
            counters={"requests_total": 7},
            rss_bytes=123_000_000,
        )


def silent(request: PredictRequest) -> list[Any]:
    del request
    return []


def refuse(code: str, message: str = "no", **detail: Any) -> Callable[[PredictRequest], list[Any]]:
    return lambda request: [ErrorResponse(id=request.id, code=code, message=message, detail=detail)]


def other_version(metadata: ModelMetadata, version: int, **fields: Any) -> ModelMetadata:
    return replace(metadata, version=version, **fields)


def main() -> None:
    """Serve until killed; every request is noted on standard output, so that a test can wait for it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("endpoint")
    parser.add_argument("--silent", action="store_true")
    parser.add_argument("--big-reply", action="store_true")
    options = parser.parse_args()

    def reply(request: PredictRequest) -> list[Any]:
        sys.stdout.write(f"predict {request.id}\n")
        sys.stdout.flush()
        if options.silent:
            return []
        answered = answer(request)
        if options.big_reply:
            large = Tensor.from_array("y", np.zeros((50_000_000, 4), np.float32))
            answered = replace(answered, tensors=(large,))
        return [answered]

    with FakeServer(options.endpoint, server_id=os.urandom(4).hex()) as server:
        server.replies = [reply]
        sys.stdout.write("up\n")
        sys.stdout.flush()
        threading.Event().wait()


if __name__ == "__main__":
    main()
