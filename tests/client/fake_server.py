"""A server whose every word a test chooses: `predictd.testing`'s sockets with scripted messages behind them.

For tests of the client itself, which look at single messages and send wrong ones. As a thread (`FakeServer`), or as a
process (`python -m tests.client.fake_server`, see `fake_process.py`).
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from predictd.testing import FakeSignature
from predictd.testing.answers import by_name
from predictd.testing.declared import declared_signature
from predictd.testing.presence import Presence
from predictd.testing.sockets import SocketThread
from predictd.testing.turn import Reply
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
from predictd_proto.orders import OrderRequest, OrderResponse
from predictd_proto.status import ServerStatus
from predictd_proto.structures import fill_structure
from predictd_proto.tensors import Buffer, Tensor


def signature(inputs: Any, outputs: Any, *, name: str = "serving_default", nest_in: Any = None, nest_out: Any = None):
    nest_in = next(iter(inputs)) if nest_in is None else nest_in
    nest_out = next(iter(outputs)) if nest_out is None else nest_out
    return declared_signature(name, inputs, outputs, input_structure=nest_in, output_structure=nest_out)


def model(name: str, *signatures: SignatureSpec, version: int = 1, **fields: Any) -> ModelMetadata:
    values = {"state": "ready", "batch_sizes": (1, 8), "parameters": 12, "runner": "session", "source": name, **fields}
    return ModelMetadata(
        name=name, version=version, signatures=signatures, default_signature="serving_default", **values
    )


FLOAT_ROWS = ("float32", (None, 4))
ANSWERS: dict[str, FakeSignature] = {
    "double": FakeSignature({"x": FLOAT_ROWS}, {"y": FLOAT_ROWS}, lambda x: x * 2),
    "pair": FakeSignature(
        {"a": FLOAT_ROWS, "b": ("int32", (None, 2))},
        {"sum": ("float32", (None,)), "twice": ("int32", (None, 2))},
        lambda given: {"sum": given[0].sum(axis=1), "rest": [given[1] * 2]},
        input_structure=["a", "b"],
        output_structure={"sum": "sum", "rest": ["twice"]},
    ),
    "named": FakeSignature(
        {"a": FLOAT_ROWS, "b": FLOAT_ROWS},
        {"y": FLOAT_ROWS},
        lambda given: given["left"] - given["right"],
        input_structure={"left": "a", "right": "b"},
    ),
    "words": FakeSignature(
        {"s": ("string", (None,))},
        {"t": ("string", (None,))},
        lambda words: np.array([b"<" + word + b">" for word in words], dtype=object),
    ),
    "column": FakeSignature({"x": ("float32", (None, 1))}, {"y": ("float32", (None, 1))}, lambda x: x + 1),
    "ragged": FakeSignature({"x": ("float32", (None, None))}, {"y": ("float32", (None, None))}, lambda x: x),
}
DOUBLE, PAIR, NAMED, WORDS, COLUMN, RAGGED = (
    model(name, answer.spec("serving_default"), batch_sizes=() if name == "ragged" else (1, 8))
    for name, answer in ANSWERS.items()
)


def answer(request: PredictRequest, *, version: int = 1) -> PredictResponse:
    """Run a request as a server would, whatever its shapes: tests change the metadata."""
    chosen = ANSWERS[request.model]
    spec = chosen.spec("serving_default")
    arrays = {tensor.name: tensor.view() for tensor in request.tensors}
    given = fill_structure(spec.input_structure, arrays)
    outputs = by_name(request.model, spec.outputs, spec.output_structure, chosen.answer(given))
    tensors = tuple(Tensor.from_array(name, array) for name, array in outputs.items())
    rows = request.tensors[0].shape[0]
    receipt = Receipt(model=request.model, version=version, queue_ms=0.1, execute_ms=0.2, batch_rows=rows)
    return PredictResponse(id=request.id, tensors=tensors, receipt=receipt)


class FakeServer:
    """A server on a thread.

    Attributes:
        models: What it serves.
        orders: What to answer to an order on the control socket.
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
        self.orders: Callable[[OrderRequest], list[Any]] = self._done
        self.control_is_silent = False
        self.seen: list[Message] = []
        self.asked: list[Message] = []
        self._arrived = threading.Condition()
        self._thread = SocketThread(self.endpoint, self._take, Presence(), take_control=self._take_control)
        self._is_up = False

    def __enter__(self) -> FakeServer:
        self._thread.start()
        self._is_up = True
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self._is_up:
            self._is_up = False
            self._thread.stop()

    def of(self, kind: type) -> list[Any]:
        return [message for message in self.seen if isinstance(message, kind)]

    def wait_for(self, kind: type, count: int = 1) -> list[Any]:
        """Wait until so many messages of a kind have come on the data socket."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.of(kind)) >= count, 30), f"no {kind.__name__} came"
        return self.of(kind)

    def _take(self, frames: Sequence[Buffer]) -> list[Reply]:
        return self._replies_to(frames, self.seen, self._data_replies)

    def _take_control(self, frames: Sequence[Buffer]) -> list[Reply]:
        return self._replies_to(frames, self.asked, self._control_replies)

    def _replies_to(self, frames: Sequence[Buffer], log: list[Message], say: Callable[[Any], list[Any]]) -> list[Reply]:
        try:
            message = decode(frames)
        except PredictdError as error:
            return [Reply(encode(ErrorResponse.from_error(None, error)))]
        replies = say(message)
        with self._arrived:
            log.append(message)
            self._arrived.notify_all()
        return [Reply(reply if isinstance(reply, list) else encode(reply)) for reply in replies]

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
        if isinstance(message, OrderRequest):
            return self.orders(message)
        if isinstance(message, MetadataRequest):
            found = tuple(m for m in self.models if message.model in {None, m.name})
            return [MetadataResponse(id=message.id, models=found)]
        assert isinstance(message, StatusRequest)
        return [StatusResponse(id=message.id, status=self.status())]

    def _done(self, order: OrderRequest) -> list[Any]:
        found = tuple(m for m in self.models if order.model in {None, m.name})
        return [OrderResponse(id=order.id, done=(f"{type(order).__name__} at {self.server_id}",), models=found)]

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
