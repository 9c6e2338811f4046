"""A model without TensorFlow: twice its input, and an error for rows that hold the poison."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from predictd_proto.frames import decode, encode
from predictd_proto.limits import Limits
from predictd_proto.messages import ErrorResponse, Message, PredictRequest, PredictResponse
from predictd_proto.metadata import ModelMetadata, SignatureSpec
from predictd_proto.tensors import Buffer, Tensor, TensorSpec
from predictd_server.models.registry import Registry, ServedModel
from predictd_server.serving.admission import Admission
from predictd_server.serving.assembly import Workspace
from predictd_server.serving.batch import Batch
from predictd_server.serving.caller_class import CallerClass, CallerClasses
from predictd_server.serving.core import Core
from predictd_server.serving.counters import Counters
from predictd_server.serving.execution import execute
from predictd_server.serving.greeting import Greeting
from predictd_server.serving.ladder import batch_ladder
from predictd_server.serving.lanes import Lanes
from predictd_server.serving.request_reader import RequestReader
from predictd_server.serving.served import ServedSignature, is_mergeable

POISON = 666.0


class DoublingRunner:
    """Answers `2 * x` for each input and keeps the sizes it was run with."""

    kind = "fake"

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def run(self, inputs: Sequence[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        self.sizes.append(inputs[0].shape[0] if inputs[0].ndim else 0)
        if any((array == POISON).any() for array in inputs if array.dtype.kind == "f"):
            text = "poisoned row"
            raise ValueError(text)
        return [array if array.dtype.kind == "O" else array * 2 for array in inputs]

    def close(self) -> None:
        pass


def doubling_spec(*shapes: tuple[int | None, ...], dtype: str = "float32") -> SignatureSpec:
    inputs = tuple(TensorSpec(f"x{i}", dtype, shape) for i, shape in enumerate(shapes))
    outputs = tuple(TensorSpec(f"y{i}", dtype, shape) for i, shape in enumerate(shapes))
    return SignatureSpec(
        name="serve",
        inputs=inputs,
        outputs=outputs,
        input_structure=[spec.name for spec in inputs],
        output_structure=[spec.name for spec in outputs],
    )


def served(
    spec: SignatureSpec,
    runner: DoublingRunner,
    max_batch_size: int = 8,
    model: str = "m",
    count_bound: int = sys.maxsize,
) -> ServedModel:
    sizes = batch_ladder(max_batch_size) if is_mergeable(spec) else ()
    metadata = ModelMetadata(name=model, version=1, state="ready", signatures=(spec,), default_signature="serve")
    return ServedModel(metadata, {"serve": ServedSignature(model, 1, spec, runner, sizes, count_bound=count_bound)})


class CoreBench:
    """A core with one doubling model, driven by hand: `send`, `run`, and look at `answers`."""

    def __init__(
        self,
        *shapes: tuple[int | None, ...],
        max_batch_size: int = 8,
        count_bound: int = sys.maxsize,
        max_rows: int = 1000,
        max_bytes: int = 1 << 20,
        window_s: float = 0.0,
        limits: Limits | None = None,
        max_batch_bytes: int = 1 << 20,
        fair_run_s: float = 0.02,
        dtype: str = "float32",
        classes: Sequence[CallerClass] = (),
        priority_wait_s: float = 1.0,
        keep_s: float = 10.0,
    ) -> None:
        self.runner = DoublingRunner()
        self.registry = Registry()
        self.limits = limits or Limits()
        spec = doubling_spec(*(shapes or ((None, 3),)), dtype=dtype)
        self.registry.put(served(spec, self.runner, max_batch_size, count_bound=count_bound))
        self.counters = Counters()
        self.greeting = Greeting("server-1", "0.1", self.limits, self.registry)
        named = CallerClasses(classes, self.counters)
        admission = Admission(max_rows=max_rows, max_bytes=max_bytes, classes=named)
        self.core = Core(
            registry=self.registry,
            greeting=self.greeting,
            counters=self.counters,
            limits=self.limits,
            admission=admission,
            lanes=Lanes(
                admission=admission,
                counters=self.counters,
                window_s=window_s,
                max_batch_bytes=max_batch_bytes,
                fair_run_s=fair_run_s,
                priority_wait_s=priority_wait_s,
            ),
            reader=RequestReader(self.registry, 60.0, named),
            keep_s=keep_s,
        )
        self.workspace = Workspace()
        self.now = 100.0
        self.answers: dict[tuple[bytes, int | None], Message] = {}

    def send(self, request_id: int, *arrays: np.ndarray[Any, Any], peer: bytes = b"p", **fields: Any) -> None:
        tensors = tuple(Tensor.from_array(f"x{i}", array) for i, array in enumerate(arrays))
        self.send_message(
            PredictRequest(id=request_id, model=fields.pop("model", "m"), tensors=tensors, **fields), peer
        )

    def send_message(self, message: Message, peer: bytes = b"p") -> None:
        self.send_frames(encode(message), peer)

    def send_frames(self, frames: list[Buffer], peer: bytes = b"p") -> None:
        self.core.receive(peer, frames, self.now)
        self.collect()

    def run_one(self) -> bool:
        batch = self.core.next_batch(self.now)
        if batch is not None:
            self.core.finish(batch, execute(batch, self.workspace, clock=lambda: self.now))
        self.collect()
        return batch is not None

    def run_all(self) -> int:
        count = 0
        while self.run_one():
            count += 1
        return count

    def collect(self) -> None:
        for peer, frames in self.core.take_replies():
            message = decode([bytes(frame) for frame in frames])
            key = (peer, getattr(message, "id", None))
            assert key not in self.answers, f"answered twice: {key}"
            self.answers[key] = message

    def outputs(self, request_id: int, peer: bytes = b"p") -> list[np.ndarray[Any, Any]]:
        message = self.answers[peer, request_id]
        assert isinstance(message, PredictResponse), message
        return [tensor.array() for tensor in message.tensors]

    def receipt(self, request_id: int) -> Any:
        message = self.answers[b"p", request_id]
        assert isinstance(message, PredictResponse), message
        return message.receipt

    def error(self, request_id: int | None, peer: bytes = b"p") -> ErrorResponse:
        message = self.answers[peer, request_id]
        assert isinstance(message, ErrorResponse), message
        return message


def rows(count: int, first: float = 0.0, width: int = 3) -> np.ndarray[Any, Any]:
    return (first + np.arange(count * width, dtype=np.float32)).reshape(count, width)


def begin(bench: CoreBench) -> Batch:
    """Close the next batch, as if the engine ran it now."""
    batch = bench.core.next_batch(bench.now)
    assert batch is not None
    return batch


def end(bench: CoreBench, batch: Batch) -> None:
    bench.core.finish(batch, execute(batch, bench.workspace))
    bench.collect()
