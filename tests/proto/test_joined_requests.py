"""Requests joined from what they share: the bytes that the ordinary way gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictd_proto.errors import LocalProtocolError
from predictd_proto.frames import encode
from predictd_proto.joined_requests import joined_request
from predictd_proto.messages import MAX_ID, PredictRequest
from predictd_proto.tensors import Tensor
from tests.proto.strategies import IDS, TEXTS, tensors

EDGES = [0, 127, 128, 255, 256, 65535, 65536, (1 << 32) - 1, 1 << 32, MAX_ID]
ALL_IDS = st.sampled_from(EDGES) | IDS
TIMES = st.floats(0, 1e12, allow_nan=False)


def request(number: int, timeout_ms: float, tensor: Tensor, **fields: object) -> PredictRequest:
    return PredictRequest(id=number, model="m", tensors=(tensor,), timeout_ms=timeout_ms, **fields)  # type: ignore[arg-type]


@settings(deadline=None)
@given(
    first=st.builds(
        PredictRequest,
        id=ALL_IDS,
        model=TEXTS,
        tensors=tensors().map(lambda tensor: (tensor,)),
        version=st.none() | IDS | TEXTS,
        signature=st.none() | TEXTS,
        timeout_ms=TIMES,
        caller_class=TEXTS,
        traceparent=TEXTS,
        task_id=TEXTS,
        task_name=TEXTS,
    ),
    others=st.lists(st.tuples(ALL_IDS, TIMES, st.randoms(use_true_random=False)), max_size=4),
)
def test_a_joined_request_is_the_encoded_one(first, others) -> None:
    joined = joined_request(first)
    if joined is None:
        assert first.tensors[0].dtype == "string" or len(encode(first)) > 1
        return
    for number, timeout_ms, random in [(first.id, first.timeout_ms, None), *others]:
        tensor = first.tensors[0]
        data = bytes(tensor.data) if random is None else random.randbytes(len(tensor.data))
        same = Tensor(tensor.name, tensor.dtype, tensor.shape, data)
        expected = encode(replace(first, id=number, timeout_ms=timeout_ms, tensors=(same,)))
        assert [joined.frame(number, timeout_ms, data)] == expected
        assert len(expected[0]) <= joined.header_bytes


@pytest.mark.parametrize(
    "kind",
    [
        PredictRequest(id=1, model="m", tensors=(Tensor.from_array("x", np.zeros(3)),)),
        PredictRequest(id=1, model="m", tensors=(), timeout_ms=1.0),
        request(1, 1.0, Tensor.from_array("x", np.zeros(4000))),
        request(1, 1.0, Tensor.from_array("x", np.array(["words"]))),
        replace(
            request(1, 1.0, Tensor.from_array("x", np.zeros(3))),
            tensors=(Tensor.from_array("x", np.zeros(3)), Tensor.from_array("y", np.zeros(3))),
        ),
    ],
    ids=["no time", "no tensors", "large", "strings", "two tensors"],
)
def test_other_kinds_are_not_joined(kind: PredictRequest) -> None:
    assert joined_request(kind) is None


@pytest.mark.parametrize(
    ("number", "timeout_ms", "data"),
    [
        (-1, 1.0, bytes(24)),
        (MAX_ID + 1, 1.0, bytes(24)),
        (1 << 40, -1.0, bytes(24)),
        (1 << 40, float("nan"), bytes(24)),
        (1 << 40, float("inf"), bytes(24)),
        (1 << 40, 1.0, bytes(23)),
        (1 << 40, 1.0, bytes(25)),
    ],
)
def test_what_the_ordinary_way_refuses_is_refused(number: int, timeout_ms: float, data: bytes) -> None:
    joined = joined_request(request(1, 1.0, Tensor.from_array("x", np.zeros(3))))
    assert joined is not None
    with pytest.raises(LocalProtocolError):
        joined.frame(number, timeout_ms, data)
