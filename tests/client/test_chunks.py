"""Rows cut into chunks come back whole, whatever their number, size and shape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictd.requests.catalogue import Plan
from predictd.rows.chunks import MOST_CHUNK_BYTES, ChunkSize, Pace
from predictd.rows.joined_outputs import Joined
from predictd_proto.errors import TensorMismatchError
from predictd_proto.limits import Limits
from predictd_proto.messages import PredictResponse, Receipt
from predictd_proto.tensors import Tensor
from tests.client.fake_server import model, signature


def plan_of(width: int, batch_sizes: tuple[int, ...]) -> Plan:
    spec = signature({"x": ("float32", (None, width))}, {"y": ("float32", (None, width))})
    return Plan(model("m", spec, batch_sizes=batch_sizes), spec)


@settings(deadline=None)
@given(
    rows=st.integers(0, 300),
    width=st.integers(0, 5),
    per_chunk=st.integers(1, 64),
    dtype=st.sampled_from(["float32", "int64", "bool", "complex64"]),
    is_known=st.booleans(),
)
def test_chunks_joined_are_the_whole(rows: int, width: int, per_chunk: int, dtype: str, is_known: bool) -> None:
    whole = np.random.default_rng(rows).integers(0, 2, (rows, width)).astype(dtype)
    joined = Joined(rows if is_known else None)
    for start in range(0, max(rows, 1), per_chunk):
        part = whole[start : start + per_chunk]
        joined.add([Tensor.from_array("y", part), Tensor.from_array("z", part.sum(axis=1, dtype=dtype))], len(part))
    y, z = joined.arrays()
    np.testing.assert_array_equal(y, whole)
    np.testing.assert_array_equal(z, whole.sum(axis=1, dtype=dtype))
    assert (y.dtype, y.flags.writeable) == (whole.dtype, True)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (np.full((1, 2), 0.5, np.float32), "'y': one chunk gives int32, another float32"),
        (np.zeros((1, 3), np.int32), r"'y': one chunk gives rows of shape \[2\], another \[3\]"),
    ],
)
def test_chunks_of_different_kinds_are_not_joined(other: np.ndarray, said: str) -> None:
    joined = Joined(2)
    joined.add([Tensor.from_array("y", np.zeros((1, 2), np.int32))], 1)
    with pytest.raises(TensorMismatchError, match=said):
        joined.add([Tensor.from_array("y", other)], 1)


def heard(pace: Pace, rows: int, busy_ms: float, row_bytes: int = 16) -> None:
    receipt = Receipt(model="m", version=1, queue_ms=1e6, assemble_ms=busy_ms / 2, execute_ms=busy_ms / 2)
    output = Tensor.from_array("y", np.broadcast_to(np.uint8(0), (rows, row_bytes)))
    pace.heard(rows, PredictResponse(id=1, tensors=(output,), receipt=receipt))


def next_rows(sizes: tuple[int, ...], pace: Pace, batch_size: int | None = None, **limits: int) -> int:
    array = np.broadcast_to(np.float32(0), (10_000, 4))
    return ChunkSize(plan_of(4, sizes), Limits(**limits), batch_size, pace, unmerged_rows=32).rows([array])


@settings(deadline=None)
@given(
    width=st.integers(1, 1 << 22),
    sizes=st.lists(st.integers(1, 512), max_size=4, unique=True).map(sorted),
    batch_size=st.none() | st.integers(1, 10_000),
    max_rows=st.integers(1, 1 << 20),
    max_bytes=st.integers(1 << 10, 1 << 30),
    busy_ms=st.none() | st.floats(0, 1e6),
)
def test_a_chunk_is_within_every_bound(
    width: int,
    sizes: list[int],
    batch_size: int | None,
    max_rows: int,
    max_bytes: int,
    busy_ms: float | None,
) -> None:
    array = np.broadcast_to(np.float32(0), (1 << 20, width))
    limits = Limits(max_rows=max_rows, max_request_bytes=max_bytes)
    pace = Pace()
    if busy_ms is not None:
        heard(pace, 1000, busy_ms)
    size = ChunkSize(plan_of(width, tuple(sizes)), limits, batch_size, pace, unmerged_rows=32)
    rows = size.rows([array])
    assert 1 <= rows <= max_rows
    assert rows <= (batch_size or rows)
    assert rows == 1 or rows * width * 4 <= min(max_bytes // 2, MOST_CHUNK_BYTES)


def test_a_chunk_is_made_of_full_batches_that_take_a_while() -> None:
    pace = Pace()
    assert next_rows((1, 8, 64), pace) == 64
    heard(pace, 64, 0.64)  # 10 us a row
    assert next_rows((1, 8, 64), pace) == 256, "at most four times as many as before"
    heard(pace, 256, 2.56)
    assert next_rows((1, 8, 64), pace) == 448, "as many full batches as fit into 5 ms"
    assert next_rows((1, 8, 64), pace, max_rows=200) == 192
    assert next_rows((1, 8, 64), pace, max_rows=50) == 50
    heard(pace, 64, 1000.0)
    assert next_rows((1, 8, 64), pace) == 64, "never less than a batch"


def test_large_answers_make_small_chunks() -> None:
    pace = Pace()
    heard(pace, 64, 0.001, row_bytes=1 << 20)
    assert next_rows((1, 8), pace) == MOST_CHUNK_BYTES >> 20
    spec = signature({"x": ("float32", (None, 1))}, {"y": ("float32", (None, 1024, 1024))})
    plan = Plan(model("m", spec, batch_sizes=(1, 8, 64)), spec)
    assert ChunkSize(plan, Limits(), None, Pace(), unmerged_rows=32).rows([np.zeros((100, 1))]) == 4


def test_a_batch_size_that_was_asked_for_is_kept() -> None:
    pace = Pace()
    heard(pace, 64, 0.001)
    assert next_rows((1, 8, 64), pace, batch_size=100) == 100


def test_rows_that_are_never_merged_go_in_keras_batches() -> None:
    assert next_rows((), Pace()) == 32
    assert next_rows((), Pace(), batch_size=7) == 7


def test_each_signature_goes_by_its_own_batch_sizes() -> None:
    default, other = (
        signature({"x": ("float32", (None, 1))}, {"y": ("float32", (None, 1))}, name=name)
        for name in ("serving_default", "other")
    )
    metadata = model("m", default, other, batch_sizes=(1, 8), ladders=((1, 8), ()))
    x = [np.zeros((1000, 1), "float32")]
    plans = [Plan(metadata, spec) for spec in (default, other)]
    assert [plan.is_row_wise for plan in plans] == [True, False]
    assert [ChunkSize(plan, Limits(), None, Pace(), unmerged_rows=32).rows(x) for plan in plans] == [8, 32]


def test_a_model_with_a_fixed_number_of_rows_gets_that_many() -> None:
    spec = signature({"x": ("float32", (4, 3))}, {"y": ("float32", (4, 3))})
    plan = Plan(model("m", spec, batch_sizes=()), spec)
    for batch_size in (None, 8):
        size = ChunkSize(plan, Limits(), batch_size, Pace(), unmerged_rows=32)
        assert size.rows([np.zeros((40, 3))]) == 4
