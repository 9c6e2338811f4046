"""Inputs in a client's memory, which it may change at any moment: what is read there, and what is copied first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from predictd_proto.messages import PredictRequest
from predictd_proto.segments import SHARED_TENSOR_BYTES, PlacedTensor, Segment, SegmentLimits
from predictd_proto.tensors import Tensor
from predictd_server.serving import client_memory
from tests.server.fake_model import CoreBench

SEGMENT = Segment(3, 1, 2, SHARED_TENSOR_BYTES)


class OneSegment:
    """The memory of all clients."""

    def __init__(self) -> None:
        self.memory = bytearray(SHARED_TENSOR_BYTES)

    def offer(self, peer: bytes) -> SegmentLimits | None:
        del peer
        return None

    def view(self, peer: bytes, segment: Segment) -> memoryview:
        del peer, segment
        return memoryview(self.memory)


def bench_of(dtype: str) -> tuple[CoreBench, OneSegment]:
    bench, memory = CoreBench((None, None), dtype=dtype), OneSegment()
    bench.core.memory = memory
    return bench, memory


def ask(bench: CoreBench, memory: OneSegment, dtype: str, request_id: int = 1) -> None:
    plain = Tensor.from_array("x0", np.full((1, SHARED_TENSOR_BYTES // np.dtype(dtype).itemsize), 1, dtype))
    memory.memory[:] = plain.data
    placed = PlacedTensor(plain.name, plain.dtype, plain.shape, plain.data, 0, 0)
    bench.send_message(PredictRequest(id=request_id, model="m", tensors=(placed,), segments=(SEGMENT,)))


@pytest.mark.parametrize(
    ("dtype", "is_copied"),
    [("int32", True), ("int64", True), ("uint32", True), ("uint64", True), ("float32", False), ("uint8", False)],
)
def test_numbers_that_may_be_places_or_lengths_are_copied(dtype: str, is_copied: bool) -> None:
    """A kernel checks an index, and reads it again to use it: what changed in between would lead out of bounds."""
    bench, memory = bench_of(dtype)
    ask(bench, memory, dtype)
    memory.memory[:] = bytes(len(memory.memory))
    assert bench.run_one()
    assert (bench.outputs(1)[0] == (2 if is_copied else 0)).all()


def test_what_is_refused_is_never_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(tensor: Any) -> Any:
        pytest.fail(f"copied: {tensor.name}")

    monkeypatch.setattr(client_memory, "own_copy", fail)
    bench, memory = bench_of("int64")
    bench.send(9, np.ones((1, 3), np.int64))
    bench.core.admission._max_bytes = SHARED_TENSOR_BYTES - 1
    ask(bench, memory, "int64")
    assert bench.error(1).code == "overloaded"
    bench.core.drain()
    ask(bench, memory, "int64", 2)
    assert bench.error(2).code == "draining"


def test_where_there_is_no_memory_for_a_copy_nothing_stays_in_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(client_memory, "own_copy", fail)
    bench, memory = bench_of("int64")
    with pytest.raises(MemoryError):
        ask(bench, memory, "int64")
    assert not bench.run_one()
    assert bench.core.is_idle
