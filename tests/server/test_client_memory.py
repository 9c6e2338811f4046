"""Outputs written into a client's memory: which, where, and whose memory it is when the work changes hands."""

from __future__ import annotations

import numpy as np
import pytest

from predictd_proto.errors import SegmentRefusedError
from predictd_proto.messages import PredictRequest
from predictd_proto.segments import SHARED_TENSOR_BYTES, PlacedTensor, Segment, aligned
from predictd_proto.tensors import Buffer, Tensor
from predictd_server.serving.client_memory import NoMemory, ReplyPlace, own_copy, reply_place
from predictd_server.serving.open_requests import OpenRequests
from predictd_server.serving.pending import Pending
from tests.server.fake_model import DoublingRunner, doubling_spec, served

BIG = SHARED_TENSOR_BYTES


def output(rows: int, width: int = BIG, name: str = "y", dtype: str = "uint8", first: int = 0) -> Tensor:
    array = (first + np.arange(rows * width) % 200).astype(dtype).reshape(rows, width)
    return Tensor.from_array(name, array)


def test_large_numbers_are_written_one_behind_the_other_and_the_rest_is_not() -> None:
    memory = bytearray(3 * BIG + 64)
    small, flags = output(1, 10, "small"), output(1, BIG, "flags", "bool")
    first, second = output(1, BIG + 1, "a"), output(1, BIG, "b", first=9)
    place = ReplyPlace(1, memory)
    written = place.put([[small, first, flags, second]], 1)
    assert written is not None
    assert written[0] is small
    assert written[2] is flags
    assert written[1] == PlacedTensor("a", "uint8", (1, BIG + 1), first.data, 1, 0)
    assert written[3] == PlacedTensor("b", "uint8", (1, BIG), second.data, 1, aligned(BIG + 1))
    assert bytes(memory[: BIG + 1]) == bytes(first.data)
    assert place.count == 2


def test_parts_are_joined_there_and_small_ones_as_ever() -> None:
    parts = [[output(2, BIG, first=1), output(2, 3, "z")], [output(1, BIG, first=5), output(1, 3, "z", first=8)]]
    written = ReplyPlace(0, bytearray(3 * BIG)).put(parts, 3)
    assert written is not None
    for index, tensor in enumerate(written):
        expected = np.concatenate([part[index].view() for part in parts])
        np.testing.assert_array_equal(tensor.view(), expected)
        assert tensor.shape == expected.shape
    assert [type(tensor) is PlacedTensor for tensor in written] == [True, False]


def test_what_finds_no_room_is_not_written() -> None:
    place = ReplyPlace(0, bytearray(BIG))
    too_large, fits = output(1, BIG + 1), output(1, BIG, "b")
    written = place.put([[too_large, fits]], 1)
    assert written is not None
    assert written[0] is too_large
    assert type(written[1]) is PlacedTensor


def test_parts_of_other_shapes_are_not_joined() -> None:
    assert ReplyPlace(0, bytearray(4 * BIG)).put([[output(1, BIG)], [output(1, BIG + 1)]], 2) is None


class OneSegment:
    def __init__(self, memory: Buffer) -> None:
        self.memory = memory

    def offer(self, peer: bytes) -> None:
        del peer

    def view(self, peer: bytes, segment: Segment) -> Buffer:
        if peer != b"p":
            text = "not yours"
            raise SegmentRefusedError(text)
        return self.memory


def test_a_place_that_can_not_be_had_is_none() -> None:
    request = PredictRequest(id=1, model="m", tensors=(), segments=(Segment(1, 2, 3, 4),), reply_segment=0)
    memory = bytearray(4)
    found = reply_place(OneSegment(memory), b"p", request)
    assert found is not None
    assert found.memory is memory
    assert reply_place(OneSegment(memory), b"q", request) is None
    assert reply_place(NoMemory(), b"p", request) is None
    assert NoMemory().offer(b"p") is None
    assert reply_place(OneSegment(memory), b"p", PredictRequest(id=1, model="m", tensors=())) is None


def test_work_that_changes_hands_answers_into_its_new_callers_memory() -> None:
    signature = served(doubling_spec((None, 3)), DoublingRunner()).signatures["serve"]
    places = [ReplyPlace(0, bytearray(1)), ReplyPlace(0, bytearray(2))]
    leader, heir = [Pending(peer, 1, signature, (), 1, 0, 0.0, 9.0) for peer in (b"p", b"q")]
    leader.reply_place, heir.reply_place = places
    requests = OpenRequests()
    requests.add(leader)
    requests.add(heir)
    requests.hand_over(leader, heir)
    assert leader.peer == b"q"
    assert leader.reply_place is places[1]


@pytest.mark.parametrize("is_placed", [True, False])
def test_what_others_will_be_answered_with_is_copied_out_of_reach(is_placed: bool) -> None:
    memory = bytearray(b"abcd")
    tensor = PlacedTensor("x", "uint8", (4,), memoryview(memory), 0, 0) if is_placed else output(1, 4)
    own = own_copy(tensor)
    before = bytes(own.data)
    memory[:] = b"zzzz"
    assert own.data == before
    assert type(own) is Tensor
