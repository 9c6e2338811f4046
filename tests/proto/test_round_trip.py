"""Whatever is encoded decodes to the same: every message type, every array, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from predictd_proto.dtypes import DTYPE_BYTES, STRING
from predictd_proto.frames import MESSAGE_TYPES, decode, encode, encoded_bytes, request_id_of
from predictd_proto.limits import DEFAULT_LIMITS, INLINE_TENSOR_BYTES
from predictd_proto.messages import Message, PredictRequest, PredictResponse
from predictd_proto.tensors import Tensor
from tests.proto.strategies import BY_TYPE, numeric_arrays, string_arrays, tensors

SOME = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_each_message_type_has_a_strategy() -> None:
    assert set(BY_TYPE) == set(MESSAGE_TYPES.values())


@pytest.mark.parametrize("cls", BY_TYPE, ids=lambda cls: cls.__name__)
@SOME
@given(data=st.data())
def test_messages_come_back(cls: type, data: st.DataObject) -> None:
    message: Message = data.draw(BY_TYPE[cls])
    frames = encode(message)
    assert decode(frames) == message
    assert request_id_of(frames) == getattr(message, "id", None)
    assert encoded_bytes(frames) == sum(len(frame) for frame in frames)


@SOME
@given(data=st.data())
def test_only_large_tensors_get_frames(data: st.DataObject) -> None:
    message = data.draw(BY_TYPE[PredictRequest] | BY_TYPE[PredictResponse])
    large = [tensor for tensor in message.tensors if tensor.byte_count > INLINE_TENSOR_BYTES]
    frames = encode(message)
    assert [bytes(frame) for frame in frames[1:]] == [bytes(tensor.data) for tensor in large]
    assert len(frames[0]) <= DEFAULT_LIMITS.max_header_bytes


def exchanged(tensor: Tensor) -> Tensor:
    message = decode(encode(PredictRequest(id=1, model="m", tensors=(tensor,))))
    assert isinstance(message, PredictRequest)
    return message.tensors[0]


@settings(max_examples=300, deadline=None)
@given(array=numeric_arrays())
def test_numbers_keep_all_their_bits(array: np.ndarray[Any, Any]) -> None:
    native = np.ascontiguousarray(array).reshape(array.shape).astype(array.dtype.newbyteorder("="))
    got = exchanged(Tensor.from_array("x", array)).view()
    assert got.shape == array.shape
    assert got.dtype == native.dtype
    assert got.tobytes() == native.astype(native.dtype.newbyteorder("<")).tobytes()


@settings(max_examples=100, deadline=None)
@given(array=string_arrays())
def test_strings_come_back_as_bytes(array: np.ndarray[Any, Any]) -> None:
    got = exchanged(Tensor.from_array("x", array)).view()
    assert got.shape == array.shape
    assert got.dtype == object
    expected = [item.encode() if isinstance(item, str) else item for item in array.reshape(-1).tolist()]
    assert got.reshape(-1).tolist() == expected


@settings(max_examples=100, deadline=None)
@given(tensor=tensors(name="x"))
def test_owned_arrays_may_be_written_to(tensor: Tensor) -> None:
    array = exchanged(tensor).array()
    assert array.flags.writeable
    assert array.flags.owndata
    assert array.shape == tensor.shape
    if array.size:
        array[...] = b"changed" if tensor.dtype == STRING else 1


@pytest.mark.parametrize("dtype", [*DTYPE_BYTES, STRING])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (0, 3), (2, 0, 2), (2, 1, 3), (1, 1, 1, 1, 2)], ids=str)
def test_each_dtype_in_each_rank(dtype: str, shape: tuple[int, ...]) -> None:
    count = int(np.prod(shape, dtype=np.int64))
    data = b"\x01\x00\x00\x00s" * count if dtype == STRING else b"\x01" * (count * DTYPE_BYTES[dtype])
    tensor = exchanged(Tensor("x", dtype, shape, data))
    assert tensor.view().shape == shape
    assert tensor == Tensor("x", dtype, shape, data)


def test_views_of_received_bytes_are_read_only_and_shared() -> None:
    frames = encode(PredictRequest(id=1, model="m", tensors=(Tensor.from_array("x", np.zeros((1, 1 << 15))),)))
    message = decode(frames)
    assert isinstance(message, PredictRequest)
    view = message.tensors[0].view()
    assert not view.flags.owndata
    assert np.shares_memory(view, np.frombuffer(frames[1], np.uint8))
    received = decode([bytes(frame) for frame in frames])
    assert isinstance(received, PredictRequest)
    assert not received.tensors[0].view().flags.writeable
