"""Tasks whose inputs lie in a client's memory: what is taken over and shared must not change with it, nor keep it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest

from predictd_proto.errors import PredictionError
from predictd_proto.messages import CancelRequest, PredictRequest
from predictd_proto.segments import SHARED_TENSOR_BYTES, PlacedTensor, Segment, SegmentLimits
from predictd_proto.tensors import Tensor
from predictd_server.serving import client_memory, task_question
from predictd_server.serving.batch import Run
from predictd_server.serving.client_memory import own_copy
from tests.server.fake_model import CoreBench, begin, end
from tests.server.task_bench import KEEP_S, TASK, assert_books_balance, response, vanish

SEGMENT = Segment(3, 1, 2, SHARED_TENSOR_BYTES)
COUNT = SHARED_TENSOR_BYTES // 4


class Memories:
    """A segment of each client, all of one size."""

    def __init__(self) -> None:
        self.of: defaultdict[bytes, bytearray] = defaultdict(lambda: bytearray(SHARED_TENSOR_BYTES))

    def offer(self, peer: bytes) -> SegmentLimits | None:
        del peer
        return None

    def view(self, peer: bytes, segment: Segment) -> memoryview:
        del segment
        return memoryview(self.of[peer])

    def give_back(self, peer: bytes) -> None:
        """A client takes its memory away; who still held it would make that fail."""
        self.of[peer].clear()


class Bench(CoreBench):
    """A core that is asked for rows in its clients' memory."""

    def __init__(self, dtype: str = "float32") -> None:
        super().__init__((None, None), dtype=dtype, max_bytes=16 << 20, keep_s=KEEP_S)
        self.dtype = dtype
        self.memories = Memories()
        self.core.memory = self.memories

    def ask(self, request_id: int, array: np.ndarray[Any, Any], peer: bytes = b"p", **fields: Any) -> None:
        self.memories.of[peer][:] = array.tobytes()
        plain = Tensor.from_array("x0", array)
        placed = PlacedTensor(plain.name, plain.dtype, plain.shape, plain.data, 0, 0)
        fields = {**TASK, **fields}
        self.send_message(
            PredictRequest(id=request_id, model="m", tensors=(placed,), segments=(SEGMENT,), **fields), peer
        )

    def scribble(self, *peers: bytes) -> None:
        for peer in peers:
            self.memories.of[peer][:] = b"\xff" * SHARED_TENSOR_BYTES

    def assert_doubled(self, request_id: int, array: np.ndarray[Any, Any], peer: bytes = b"p") -> None:
        np.testing.assert_array_equal(self.outputs(request_id, peer)[0], array * 2)


def numbers(first: float = 1000.0, dtype: str = "float32") -> np.ndarray[Any, Any]:
    return (first + np.arange(COUNT * 4 // np.dtype(dtype).itemsize)).astype(dtype).reshape(1, -1)


@pytest.mark.parametrize("dtype", ["float32", "int64"])
@pytest.mark.parametrize("when", ["queued", "running", "done"])
def test_the_memory_of_a_client_that_is_gone_is_let_go_of_and_its_work_taken_over(when: str, dtype: str) -> None:
    bench, array = Bench(dtype), numbers(dtype=dtype)
    bench.ask(1, array, b"gone")
    batch = None if when == "queued" else begin(bench)
    assert vanish(bench) == (0, 1)
    if when == "done" and batch is not None:
        end(bench, batch)
    bench.memories.give_back(b"gone")
    bench.ask(2, array)
    bench.scribble(b"p")
    if when == "running" and batch is not None:
        end(bench, batch)
    bench.run_all()
    bench.assert_doubled(2, array)
    assert response(bench, 2).receipt.closed_by == "joined"
    assert bench.runner.sizes == [1]
    bench.memories.give_back(b"p")
    assert_books_balance(bench)


def test_work_that_there_is_no_memory_to_keep_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any) -> Any:
        raise MemoryError

    bench = Bench()
    bench.ask(1, numbers(), b"gone")
    monkeypatch.setattr(client_memory, "own_copy", fail)
    assert vanish(bench) == (1, 0)
    assert_books_balance(bench)


def test_who_waits_for_a_live_client_s_work_gets_the_answer_to_what_both_asked() -> None:
    bench, array = Bench(), numbers()
    bench.ask(1, array, b"first")
    bench.ask(2, array, b"second")
    bench.scribble(b"first", b"second")
    bench.run_all()
    assert bench.runner.sizes == [1]
    for number, peer in ((1, b"first"), (2, b"second")):
        bench.assert_doubled(number, array, peer)
    assert_books_balance(bench)


def test_inputs_that_have_changed_since_are_another_question() -> None:
    bench, array = Bench(), numbers()
    bench.ask(1, array, b"first")
    bench.memories.of[b"first"][:] = numbers(2000.0).tobytes()
    bench.ask(2, array)
    bench.run_all()
    bench.assert_doubled(2, array)
    assert bench.counters.requests_joined_total == 0


def test_a_run_that_reads_a_live_client_s_memory_is_joined_by_nobody() -> None:
    bench, array = Bench(), numbers()
    bench.ask(1, array, b"first")
    batch = begin(bench)
    bench.ask(2, array)
    end(bench, batch)
    bench.run_all()
    assert bench.runner.sizes == [1, 1]
    bench.assert_doubled(2, array)
    assert_books_balance(bench)


def test_nor_is_one_whose_inputs_there_is_no_memory_to_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[Tensor] = []

    def fail_once(tensor: Tensor) -> Tensor:
        copied.append(tensor)
        if len(copied) == 1:
            raise MemoryError
        return own_copy(tensor)

    bench, array = Bench(), numbers()
    bench.ask(1, array, b"first")
    monkeypatch.setattr(client_memory, "own_copy", fail_once)
    bench.ask(2, array)
    bench.run_all()
    assert bench.counters.requests_joined_total == 0
    for number, peer in ((1, b"first"), (2, b"p")):
        bench.assert_doubled(number, array, peer)
    assert_books_balance(bench)


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_who_runs_in_the_place_of_one_that_failed_has_the_inputs_that_it_asked_with(dtype: str) -> None:
    bench, array = Bench(dtype), numbers(dtype=dtype)
    bench.ask(1, array, b"first")
    bench.ask(2, array, b"second")
    bench.ask(3, array, b"third")
    batch = begin(bench)
    bench.core.finish(batch, [Run(batch.parts, batch.rows, batch.size, None, PredictionError("out of memory"))])
    bench.collect()
    assert bench.error(1, b"first").code == "prediction_failed"
    bench.scribble(b"first", b"second", b"third")
    bench.run_all()
    for number, peer in ((2, b"second"), (3, b"third")):
        bench.assert_doubled(number, array, peer)
    for peer in (b"first", b"second", b"third"):
        bench.memories.give_back(peer)
    assert_books_balance(bench)


def test_nobody_joins_a_run_that_is_over_whatever_clients_wrote_meanwhile() -> None:
    """Two that differ where no look falls become equal: the end of the one must not be taken for the other's."""
    bench, array = Bench(), np.zeros((1, COUNT), np.float32)
    other = array.copy()
    look = task_question._look(array.tobytes())
    place = next(place for place in range(COUNT) if task_question._look(_with_one(array, place).tobytes()) == look)
    other[0, place] = 1
    bench.ask(1, array, b"first")
    bench.ask(2, other, b"second")
    bench.memories.of[b"second"][:] = array.tobytes()
    bench.send_message(CancelRequest(id=2), b"second")
    for number, asked in ((3, array), (4, other)):
        bench.ask(number, asked)
        bench.run_all()
        bench.assert_doubled(number, asked)
    assert_books_balance(bench)


def _with_one(array: np.ndarray[Any, Any], place: int) -> np.ndarray[Any, Any]:
    changed = array.copy()
    changed[0, place] = 1
    return changed
