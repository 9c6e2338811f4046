"""Tensors in segments: the header's places, and every check of one before its memory is read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictd_proto.dtypes import DTYPE_BYTES
from predictd_proto.errors import (
    LocalProtocolError,
    RemoteProtocolError,
    RequestTooLargeError,
    SegmentRefusedError,
)
from predictd_proto.frames import check_size, decode, encode, request_id_of
from predictd_proto.limits import Limits
from predictd_proto.messages import MAX_ID, PredictRequest, PredictResponse, Receipt
from predictd_proto.segments import MAX_SEGMENTS, PlacedTensor, Segment, SegmentLimits, aligned
from predictd_proto.tensors import Buffer, Tensor
from tests.proto.malformed import predict, response

MEMORY = bytes(range(256)) * 4
SEGMENT = [3, 1, 2, len(MEMORY)]


def read(frames: list[Any], limits: Limits | None = None) -> PredictRequest:
    message = decode(frames, limits or Limits(), request_memory=lambda segment: MEMORY[: segment.byte_count])
    assert isinstance(message, PredictRequest)
    return message


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_what_lies_in_segments_comes_back(data: st.DataObject) -> None:
    memories = [bytearray(4096), bytearray(8192)]
    segments = tuple(Segment(number, 1, number, len(memory)) for number, memory in enumerate(memories))
    ends = [0, 0]
    tensors: list[Tensor] = []
    arrays = []
    for index in range(data.draw(st.integers(1, 4))):
        name = data.draw(st.sampled_from(sorted(set(DTYPE_BYTES) - {"bool", "bfloat16"})))
        shape = data.draw(st.lists(st.integers(1, 4), max_size=3))
        raw = data.draw(st.binary(min_size=int(np.prod(shape)) * DTYPE_BYTES[name], max_size=None).map(bytes))
        raw = raw[: int(np.prod(shape)) * DTYPE_BYTES[name]]
        where = data.draw(st.integers(0, 1))
        offset = aligned(ends[where])
        memories[where][offset : offset + len(raw)] = raw
        ends[where] = offset + len(raw)
        tensors.append(PlacedTensor(f"x{index}", name, tuple(shape), raw, where, offset))
        arrays.append(np.frombuffer(raw, name).reshape(shape))
    small = Tensor.from_array("small", np.arange(3))
    request = PredictRequest(id=1, model="m", tensors=(*tensors, small), segments=segments, reply_segment=1)
    frames = encode(request)
    assert len(frames) == 1
    again = decode(frames, request_memory=lambda segment: memories[segment.descriptor])
    assert isinstance(again, PredictRequest)
    assert again == request
    for tensor, array in zip(again.tensors, arrays, strict=False):
        np.testing.assert_array_equal(tensor.view(), array)
        assert not tensor.view().flags.writeable

    reply = PredictResponse(id=1, tensors=tuple(tensors), receipt=Receipt(model="m", version=1))
    asked: list[tuple[int, int]] = []

    def memory(request_id: int, number: int) -> Buffer:
        asked.append((request_id, number))
        return memories[number]

    assert decode(encode(reply), reply_memory=memory) == reply
    assert all(request_id == 1 for request_id, _ in asked)


REFUSED: dict[str, tuple[list[bytes], str]] = {
    "beyond": (predict(["x", "uint8", [1025], [0, 0]], segments=[SEGMENT]), "takes 1025 bytes from byte 0 on; its seg"),
    "beyond by its offset": (predict(["x", "uint8", [64], [0, 1024]], segments=[SEGMENT]), "from byte 1024 on"),
    "huge": (predict(["x", "float32", [1 << 47, 1 << 47], [0, 0]], segments=[SEGMENT]), "its segment has 1024"),
    "nothing": (predict(["x", "uint8", [0], [0, 0]], segments=[SEGMENT]), "one of no bytes never lies in a segment"),
    "crooked": (predict(["x", "uint8", [4], [0, 8]], segments=[SEGMENT]), "expected a multiple of 64"),
    "bool": (predict(["x", "bool", [4], [0, 0]], segments=[SEGMENT]), "bool never lies in a segment"),
    "string": (predict(["x", "string", [4], [0, 0]], segments=[SEGMENT]), "string never lies in a segment"),
    "no such segment": (
        predict(["x", "uint8", [4], [1, 0]], segments=[SEGMENT]),
        "in segment 1; the request announces 1",
    ),
    "none announced": (predict(["x", "uint8", [4], [0, 0]]), "in segment 0; the request announces 0"),
    "one number": (
        predict(["x", "uint8", [4], [0]], segments=[SEGMENT]),
        "a place is a segment's number and an offset",
    ),
    "below zero": (predict(["x", "uint8", [4], [-1, 0]], segments=[SEGMENT]), "a place is a segment's number"),
    "true": (predict(["x", "uint8", [4], [False, 0]], segments=[SEGMENT]), "a place is a segment's number"),
    "dtype": (predict(["x", "void", [4], [0, 0]], segments=[SEGMENT]), "unknown dtype"),
    "segments map": (predict(segments={}), "segments: expected a list of at most 8, got a dict of 0"),
    "too many": (predict(segments=[SEGMENT] * (MAX_SEGMENTS + 1)), "got a list of 9"),
    "short": (predict(segments=[[1, 2, 3]]), "a list of descriptor, device, inode and bytes, got a list of 3"),
    "no size": (predict(segments=[[1, 2, 3, 0]]), "a segment's bytes: expected a whole number from 1"),
    "descriptor": (predict(segments=[[-1, 2, 3, 1]]), "a segment's descriptor: expected a whole number from 0"),
    "device": (predict(segments=[[1, "a", 3, 1]]), "a segment's device: expected a whole number"),
    "reply beyond": (
        predict(segments=[SEGMENT], reply_segment=1),
        "reply_segment: expected a whole number from 0 to 0",
    ),
    "reply of none": (predict(reply_segment=0), "reply_segment"),
}


@pytest.mark.parametrize(("frames", "text"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_place(frames: list[bytes], text: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        read(frames)
    assert text in str(caught.value)
    assert request_id_of(frames) == 5


def test_a_request_in_segments_is_refused_where_none_are_shared() -> None:
    with pytest.raises(SegmentRefusedError, match="no memory is shared here: send it in a frame"):
        decode(predict(["x", "uint8", [4], [0, 0]], segments=[SEGMENT]))


def test_an_output_in_a_segment_that_nobody_offered_is_malformed() -> None:
    with pytest.raises(RemoteProtocolError, match="the request announced none"):
        decode(response(tensors=[["x", "uint8", [4], [0, 0]]]))


def test_what_lies_in_segments_counts_as_a_part_of_the_request() -> None:
    frames = predict(["x", "uint8", [900], [0, 0]], segments=[SEGMENT])
    with pytest.raises(RequestTooLargeError, match="900 bytes in shared memory"):
        read(frames, Limits(max_request_bytes=len(frames[0]) + 899))
    assert read(frames, Limits(max_request_bytes=len(frames[0]) + 900)).tensors[0].byte_count == 900
    with pytest.raises(RequestTooLargeError, match="max_request_bytes = 1000"):
        check_size([b""], Limits(max_request_bytes=1000), 1001)


def test_memory_is_asked_for_only_where_a_tensor_lies() -> None:
    message = decode(predict(["x", "uint8", [2], b"ab"], segments=[SEGMENT], reply_segment=0))
    assert isinstance(message, PredictRequest)
    assert message.reply_segment == 0


@pytest.mark.parametrize("numbers", [(-1, 0, 0, 1), (0, -1, 0, 1), (0, 0, 1 << 64, 1), (0, 0, 0, 0), (True, 0, 0, 1)])
def test_what_is_no_segment(numbers: tuple[int, int, int, int]) -> None:
    with pytest.raises(LocalProtocolError, match="a segment's"):
        Segment(*numbers)


@pytest.mark.parametrize("limits", [(0, 1), (1, 0), (1, MAX_ID + 1)])
def test_what_are_no_limits(limits: tuple[int, int]) -> None:
    with pytest.raises(LocalProtocolError):
        SegmentLimits(max_segments=limits[0], max_bytes=limits[1])
