"""Rows cut into chunks come back whole, whatever their number, size and shape."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from predictd.catalogue import Plan
from predictd.chunks import MOST_CHUNK_BYTES, Joined, chunk_rows
from predictd_proto.limits import Limits
from predictd_proto.tensors import Tensor
from tests.client.fake_server import model, signature


def plan_of(width: int, batch_sizes: tuple[int, ...]) -> Plan:
    spec = signature({"x": ("float32", (None, width))}, {"y": ("float32", (None, width))})
    return Plan(model("m", spec, batch_sizes=batch_sizes), spec)


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


@given(
    width=st.integers(1, 1 << 22),
    sizes=st.lists(st.integers(1, 512), max_size=4, unique=True).map(sorted),
    batch_size=st.none() | st.integers(1, 10_000),
    max_rows=st.integers(1, 1 << 20),
    max_bytes=st.integers(1 << 10, 1 << 30),
)
def test_a_chunk_is_within_every_bound(
    width: int, sizes: list[int], batch_size: int | None, max_rows: int, max_bytes: int
) -> None:
    array = np.broadcast_to(np.float32(0), (1 << 20, width))
    limits = Limits(max_rows=max_rows, max_request_bytes=max_bytes)
    rows = chunk_rows(plan_of(width, tuple(sizes)), [array], limits, batch_size)
    assert 1 <= rows <= max_rows
    assert rows <= (batch_size or rows)
    assert rows == 1 or rows * width * 4 <= min(max_bytes // 2, MOST_CHUNK_BYTES)


def test_a_chunk_is_made_of_full_batches() -> None:
    array = np.broadcast_to(np.float32(0), (10_000, 4))
    assert chunk_rows(plan_of(4, (1, 8, 64)), [array], Limits(), None) == 512
    assert chunk_rows(plan_of(4, (1, 8, 64)), [array], Limits(max_rows=200), None) == 192
    assert chunk_rows(plan_of(4, ()), [array], Limits(), None) == 1024
