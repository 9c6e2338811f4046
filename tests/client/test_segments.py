"""A connection's segments: what is lent and when it is free again, by the room alone. No server."""

from __future__ import annotations

import errno
import gc
import mmap
import os
import threading
from collections.abc import Iterator
from time import monotonic

import numpy as np
import pytest

from predictd.connections import segments as room
from predictd.connections import shared_room
from predictd.connections.pool import Pool
from predictd.connections.segments import Segments, may_share, segments_for
from predictd.connections.shared_room import IDLE_S, Room, bytes_taken
from predictd.connections.transport import Connection
from predictd.process import this_process
from predictd.requests.request_frames import answer_of
from predictd_proto.errors import RemoteProtocolError, SegmentRefusedError
from predictd_proto.frames import encode
from predictd_proto.messages import ErrorResponse, Welcome
from predictd_proto.segments import SHARED_TENSOR_BYTES, PlacedTensor, SegmentLimits
from predictd_proto.tensors import Buffer, Tensor
from tests.server.shared_memory import memfds_of, needs_memfd

pytestmark = needs_memfd

BIG = SHARED_TENSOR_BYTES
LIMITS = SegmentLimits(max_segments=4, max_bytes=BIG * 5)


@pytest.fixture
def segments(monkeypatch: pytest.MonkeyPatch) -> Iterator[Segments]:
    gc.collect()
    monkeypatch.setattr(shared_room, "_rooms", {})
    before = memfds_of()
    made = Segments(LIMITS, "server")
    yield made
    made.close()
    assert memfds_of() == before
    assert not bytes_taken(this_process())


def tensor(byte_count: int = BIG, value: int = 1, name: str = "x", dtype: str = "uint8") -> Tensor:
    return Tensor.from_array(name, np.full(byte_count, value, dtype))


def test_large_tensors_are_copied_and_small_ones_stay(segments: Segments) -> None:
    tensors = (tensor(), tensor(10, name="small"), tensor(BIG + 1, 2, "y"), tensor(BIG, 1, "mask", "bool"))
    placed, announced, reply = segments.lend(1, tensors, 0)
    assert [type(item) is PlacedTensor for item in placed] == [True, False, True, False]
    assert placed[0] == PlacedTensor("x", "uint8", (BIG,), tensors[0].data, 0, 0)
    assert placed[2] == PlacedTensor("y", "uint8", (BIG + 1,), tensors[2].data, 0, BIG)
    assert reply is None
    [segment] = announced
    with open(f"/proc/self/fd/{segment.descriptor}", "rb") as file:
        assert file.read(BIG * 2 + 1) == bytes(tensors[0].data) + bytes(tensors[2].data)
        assert os.fstat(file.fileno()).st_ino == segment.inode


def test_with_nothing_large_nothing_is_lent(segments: Segments) -> None:
    tensors = (tensor(10),)
    assert segments.lend(1, tensors, 0) == (tensors, (), None)
    assert not segments.is_lent


def test_what_is_answered_is_lent_again(segments: Segments) -> None:
    _, first, _ = segments.lend(1, (tensor(),), BIG)
    assert len(first) == 2
    segments.settle(1, is_answered=True)
    _, again, reply = segments.lend(2, (tensor(),), BIG)
    assert set(again) == set(first)
    assert reply == 1


def test_what_ended_otherwise_is_not(segments: Segments) -> None:
    _, first, _ = segments.lend(1, (tensor(),), BIG)
    segments.settle(1, is_answered=False)
    _, second, _ = segments.lend(2, (tensor(),), BIG)
    segments.give_up(2)
    _, third, _ = segments.lend(3, (tensor(),), BIG)
    inodes = {segment.inode for segment in (*first, *second, *third)}
    assert len(inodes) == 6
    assert len(memfds_of()) >= 2


def test_outputs_are_lent_until_nobody_holds_what_lies_there(segments: Segments) -> None:
    _, first, _ = segments.lend(1, (), BIG)
    view = segments.outputs(1, 0)[:8]
    segments.settle(1, is_answered=True)
    array = np.frombuffer(view, np.uint8)
    del view
    _, second, _ = segments.lend(2, (), BIG)
    assert second != first
    segments.settle(2, is_answered=True)
    del array
    taken = {segments.lend(number, (), BIG)[1] for number in (3, 4)}
    assert taken == {first, second}


def test_outputs_are_read_from_where_they_were_offered_only(segments: Segments) -> None:
    segments.lend(1, (tensor(),), BIG)
    segments.lend(2, (tensor(),), 0)
    for request_id, number in ((1, 0), (1, 2), (2, 0), (3, 0)):
        with pytest.raises(RemoteProtocolError, match="which was not offered for the outputs"):
            segments.outputs(request_id, number)


def test_a_late_answer_can_be_read_and_holds_nothing(segments: Segments) -> None:
    segments.lend(1, (), BIG)
    segments.give_up(1)
    assert segments.is_lent
    assert len(segments.outputs(1, 0)) == BIG
    segments.settle(1, is_answered=True)
    with pytest.raises(RemoteProtocolError):
        segments.outputs(1, 0)


def test_of_what_was_given_up_only_the_newest_is_known(segments: Segments) -> None:
    for number in range(room._MOST_GIVEN_UP + 5):
        segments.lend(number, (), BIG)
        segments.give_up(number)
    assert list(segments._given_up) == list(range(5, room._MOST_GIVEN_UP + 5))


def test_beyond_the_servers_limits_nothing_is_lent(segments: Segments) -> None:
    lent = [segments.lend(number, (tensor(),), 0)[1] for number in range(6)]
    assert [len(announced) for announced in lent] == [1, 1, 1, 1, 0, 0]
    for number in range(4):
        segments.settle(number, is_answered=True)
    # What is free makes room for what does not fit into it.
    assert len(segments.lend(7, (tensor(BIG * 4),), 0)[1]) == 1
    assert segments.lend(8, (tensor(BIG * 2),), 0)[1] == ()


def test_connections_of_a_process_share_the_limits(segments: Segments) -> None:
    other = Segments(LIMITS, "server")
    assert len(segments.lend(1, (tensor(BIG * 3),), 0)[1]) == 1
    assert other.lend(1, (tensor(BIG * 3),), 0)[1] == ()
    segments.close()
    assert len(other.lend(2, (tensor(BIG * 3),), 0)[1]) == 1
    other.close()


def test_idle_memory_of_one_connection_makes_room_for_another(segments: Segments) -> None:
    for number in range(4):
        assert len(segments.lend(number, (tensor(),), 0)[1]) == 1
    for number in range(4):
        segments.settle(number, is_answered=True)
    other = Segments(LIMITS, "server")
    lent = [other.lend(number, (tensor(),), 0)[1] for number in range(5)]
    assert [len(announced) for announced in lent] == [1, 1, 1, 1, 0]
    other.close()


def test_the_longest_unused_memory_goes_first(segments: Segments) -> None:
    first, *_ = [segments.lend(number, (tensor(),), 0)[1] for number in range(4)]
    for number in (1, 2, 0, 3):
        segments.settle(number, is_answered=True)
    other = Segments(LIMITS, "server")
    for number in range(2):
        other.lend(number, (tensor(),), 0)
    assert {segments.lend(number, (tensor(),), 0)[1] for number in (8, 9)} >= {first}
    other.close()


def test_each_server_has_room_of_its_own(segments: Segments) -> None:
    elsewhere = Segments(LIMITS, "another")
    for number in range(4):
        assert len(segments.lend(number, (tensor(),), 0)[1]) == 1
        assert len(elsewhere.lend(number, (tensor(),), 0)[1]) == 1
    elsewhere.close()


def test_what_is_not_used_for_a_while_goes(segments: Segments) -> None:
    _, first, _ = segments.lend(1, (tensor(),), 0)
    segments.settle(1, is_answered=True)
    own_room = Room.of(this_process(), "server")
    own_room.end_unused(monotonic() - IDLE_S)
    assert bytes_taken(this_process()) == BIG
    own_room.end_unused(monotonic())
    assert bytes_taken(this_process()) == 0
    assert segments.lend(2, (tensor(),), 0)[1] != first


def test_a_process_that_asks_no_more_keeps_nothing(segments: Segments, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_room, "_sweepers", {})
    monkeypatch.setattr(shared_room, "IDLE_S", 0.0)
    monkeypatch.setattr(shared_room, "SWEEP_S", 0.001)
    segments.lend(1, (tensor(),), BIG)
    [sweeper] = shared_room._sweepers.values()
    assert sweeper.is_alive()
    segments.settle(1, is_answered=True)
    sweeper.join(60)
    assert not sweeper.is_alive()
    assert not bytes_taken(this_process())
    assert not shared_room._sweepers
    segments.lend(2, (tensor(),), BIG)
    assert len(shared_room._sweepers) == 1
    segments.settle(2, is_answered=True)


def test_without_a_thread_to_be_had_it_is_shared_nevertheless(
    segments: Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: threading.Thread) -> None:
        text = "can't start new thread"
        raise RuntimeError(text)

    monkeypatch.setattr(shared_room, "_sweepers", {})
    monkeypatch.setattr(threading.Thread, "start", fail)
    assert len(segments.lend(1, (tensor(),), 0)[1]) == 1
    assert not shared_room._sweepers


def test_memory_that_is_much_too_large_is_not_used(segments: Segments) -> None:
    _, large, _ = segments.lend(1, (tensor(BIG * 4),), 0)
    segments.settle(1, is_answered=True)
    assert segments.lend(2, (tensor(BIG),), 0)[1] == large
    segments.settle(2, is_answered=True)
    segments.close()
    wide = Segments(SegmentLimits(max_segments=4, max_bytes=BIG * 20), "wide")
    _, large, _ = wide.lend(1, (tensor(BIG * 8),), 0)
    wide.settle(1, is_answered=True)
    assert wide.lend(2, (tensor(BIG),), 0)[1] != large
    wide.close()


def test_its_pages_are_there_before_the_server_sees_it(segments: Segments) -> None:
    [segment] = segments.lend(1, (), BIG)[1]
    assert os.fstat(segment.descriptor).st_blocks * 512 >= BIG


def test_where_there_are_no_pages_nothing_is_lent(segments: Segments, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert segments.lend(1, (tensor(),), BIG)[1] == ()


def test_kernels_that_know_no_memory_without_execution_share_too(
    segments: Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = os.memfd_create

    def old(name: str, flags: int) -> int:
        if flags & ~(os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING):
            raise OSError(errno.EINVAL, "Invalid argument")
        return create(name, flags)

    monkeypatch.setattr(os, "memfd_create", old)
    assert len(segments.lend(1, (tensor(),), 0)[1]) == 1


def test_more_than_a_process_keeps_is_given_up_with_each_answer(
    segments: Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "KEPT_BYTES", BIG)
    for number in range(2):
        segments.lend(number, (tensor(),), 0)
    segments.settle(0, is_answered=True)
    segments.settle(1, is_answered=True)
    assert bytes_taken(this_process()) <= BIG


def test_after_a_refusal_nothing_is_lent_to_that_server_for_a_while(segments: Segments) -> None:
    other, elsewhere = Segments(LIMITS, "server"), Segments(LIMITS, "another")
    segments.refuse()
    assert segments.lend(1, (tensor(),), BIG)[1] == other.lend(1, (tensor(),), BIG)[1] == ()
    assert len(elsewhere.lend(1, (tensor(),), 0)[1]) == 1
    elsewhere.close()
    for number in range(shared_room._MOST_ROOMS * 2):
        Segments(LIMITS, f"server {number}").refuse()
    gc.collect()
    assert len(shared_room._rooms) <= shared_room._MOST_ROOMS


def test_no_loan_outlives_its_call(segments: Segments) -> None:
    segments.lend(1, (tensor(),), BIG)
    segments.lend(2, (tensor(),), BIG)
    segments.give_up(2)
    segments.end_loans()
    assert not segments.is_lent
    # The server may be at it: it is let go of, not lent again.
    assert not bytes_taken(this_process())


def test_a_connection_that_is_idle_lends_nothing(segments: Segments) -> None:
    """A signal may strike after the memory was lent and before the request is known to be sent."""
    pool = Pool()
    connection = Connection("ipc:///nowhere/p.sock")
    connection.segments = segments
    connection.greeting = Welcome(version=1, server_id="", server="0", state="ready")
    segments.lend(1, (tensor(),), BIG)
    pool.give_back(connection)
    assert len(pool) == 1
    assert not segments.is_lent
    pool.close()


def refusal_of(request_id: int) -> list[Buffer]:
    return encode(ErrorResponse(id=request_id, code=SegmentRefusedError.code, message="no descriptor"))


def test_only_the_refusal_of_a_request_that_is_waited_for_closes_the_road(segments: Segments) -> None:
    segments.lend(1, (tensor(),), BIG)
    segments.give_up(1)
    # Cancelled before the server read it, which then finds no descriptor: that says nothing of the others.
    answer_of(refusal_of(1), "ipc:///p", segments)
    assert len(segments.lend(2, (tensor(),), 0)[1]) == 1
    answer_of(refusal_of(7), "ipc:///p", segments)
    assert len(segments.lend(3, (tensor(),), 0)[1]) == 1
    answer_of(refusal_of(3), "ipc:///p", segments)
    assert segments.lend(4, (tensor(),), 0)[1] == ()


def test_what_is_closed_lends_nothing_and_keeps_what_is_held(segments: Segments) -> None:
    segments.lend(1, (), BIG)
    array = np.frombuffer(segments.outputs(1, 0), np.uint8)
    array[:] = 7
    segments.close()
    segments.close()
    assert segments.lend(2, (tensor(),), BIG)[1] == ()
    assert (array == 7).all()
    del array


def test_who_shares_with_whom() -> None:
    assert may_share("ipc:///run/p.sock")
    assert not may_share("tcp://127.0.0.1:5555")
    welcome = Welcome(version=1, server_id="s", server="0", state="ready")
    assert segments_for("ipc:///p", welcome) is None
    offered = Welcome(version=1, server_id="s", server="0", state="ready", segments=LIMITS)
    assert segments_for("ipc:///p", offered) is not None
    assert segments_for("tcp://127.0.0.1:1", offered) is None


@pytest.mark.parametrize("byte_count", [1, 4096, 4097, BIG, BIG + 1, 12_582_912, (1 << 30) + 1])
def test_sizes_come_in_steps_of_a_quarter_at_most(byte_count: int) -> None:
    rounded = room._rounded(byte_count)
    assert byte_count <= rounded <= byte_count * 1.26 + mmap.PAGESIZE
    assert room._rounded(rounded) == rounded
