"""Clients' memory in the server: what is mapped and what is refused, the quotas, and when a mapping goes."""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from predictd_proto.errors import SegmentRefusedError
from predictd_proto.segments import Segment, SegmentLimits
from predictd_server.serving.counters import Counters
from predictd_server.sockets import segments as room
from predictd_server.sockets.segments import IDLE_S, LOG_S, SWEEP_S, SegmentQuotas, Segments
from tests.server.shared_memory import (
    SEAL_GROW,
    SEAL_SEAL,
    SEAL_SHRINK,
    SharedMemory,
    memfds_of,
    needs_memfd,
    shared_memory,
)

pytestmark = needs_memfd

SIZE = mmap.PAGESIZE * 4
US = (os.geteuid(), os.getpid())
QUOTAS = SegmentQuotas(max_segments=4, max_bytes=SIZE * 4, max_client_segments=3, max_client_bytes=SIZE * 3)


@pytest.fixture
def segments() -> Iterator[Segments]:
    before = memfds_of()
    made = Segments(QUOTAS, Counters())
    made.meet(b"p", US)
    yield made
    for peer in (b"p", b"q"):
        made.forget(peer)
    assert mapped(made) == (0, 0)
    assert memfds_of() == before


def mapped(segments: Segments) -> tuple[int, int]:
    segments._settle()
    counters = segments._counters
    assert counters.segments_mapped_total - counters.segments_released_total == segments._all.segments
    return segments._all.segments, segments._all.bytes


def several(stack: ExitStack, count: int, byte_count: int = SIZE) -> list[SharedMemory]:
    return [stack.enter_context(shared_memory(byte_count)) for _ in range(count)]


def test_both_sides_see_what_either_writes(segments: Segments) -> None:
    with shared_memory(SIZE) as memory:
        view = segments.view(b"p", memory.segment)
        memory.mapping[:5] = b"hello"
        assert bytes(view[:5]) == b"hello"
        np.frombuffer(view, np.uint8)[5:8] = 7
        assert memory.mapping[5:8] == b"\7\7\7"
        assert mapped(segments) == (1, SIZE)
        assert segments.view(b"p", memory.segment).obj is view.obj
        view.release()


def test_what_is_offered(segments: Segments) -> None:
    assert segments.offer(b"p") == SegmentLimits(max_segments=3, max_bytes=SIZE * 3)
    assert segments.offer(b"stranger") is None
    quotas = SegmentQuotas(max_segments=1, max_bytes=0, max_client_segments=1, max_client_bytes=1)
    nothing = Segments(quotas, Counters())
    nothing.meet(b"p", US)
    assert nothing.offer(b"p") is None


@pytest.mark.parametrize("owner", [None, (os.geteuid() + 1, os.getpid()), (os.geteuid(), 0)])
def test_other_users_and_processes_out_of_sight_are_offered_nothing(owner: tuple[int, int] | None) -> None:
    segments = Segments(QUOTAS, Counters())
    segments.meet(b"p", owner)
    assert segments.offer(b"p") is None
    with shared_memory(SIZE) as memory, pytest.raises(SegmentRefusedError, match="send the tensors in frames"):
        segments.view(b"p", memory.segment)
    assert segments._counters.segments_refused_total == 1


def test_without_memfds_nothing_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    segments = Segments(QUOTAS, Counters())
    segments.meet(b"p", US)
    assert segments.offer(b"p") is None


TOO_FEW = [0, SEAL_SEAL, SEAL_SEAL | SEAL_GROW, SEAL_SEAL | SEAL_SHRINK, SEAL_SHRINK | SEAL_GROW]


@pytest.mark.parametrize("seals", TOO_FEW)
def test_what_could_change_its_size_is_refused(segments: Segments, seals: int) -> None:
    with shared_memory(SIZE, seals) as memory, pytest.raises(SegmentRefusedError, match="not sealed against shrinking"):
        segments.view(b"p", memory.segment)


def changed(segment: Segment, **changes: int) -> Segment:
    numbers = dict(zip(("descriptor", "device", "inode", "byte_count"), segment.entry, strict=True))
    return Segment(**{**numbers, **changes})


WRONG: dict[str, tuple[Callable[[Segment], Segment], str]] = {
    "inode": (lambda segment: changed(segment, inode=segment.inode + 1), "another file than the announced one"),
    "device": (lambda segment: changed(segment, device=segment.device + 1), "another file than the announced one"),
    "size": (lambda segment: changed(segment, byte_count=SIZE * 2), f"it has {SIZE} bytes, announced were {SIZE * 2}"),
    "smaller": (lambda segment: changed(segment, byte_count=SIZE - 1), f"it has {SIZE} bytes, announced were"),
    "descriptor": (lambda segment: changed(segment, descriptor=1 << 20), "it can't be opened: No such file"),
}


@pytest.mark.parametrize(("change", "text"), WRONG.values(), ids=WRONG)
def test_what_is_not_as_announced_is_refused(
    segments: Segments, change: Callable[[Segment], Segment], text: str
) -> None:
    with shared_memory(SIZE) as memory, pytest.raises(SegmentRefusedError) as caught:
        segments.view(b"p", change(memory.segment))
    assert text in str(caught.value)
    assert "send the tensors in frames" in str(caught.value)
    assert mapped(segments) == (0, 0)


def announced(descriptor: int) -> Segment:
    found = os.fstat(descriptor)
    return Segment(descriptor, found.st_dev, found.st_ino, max(found.st_size, 1))


def test_files_pipes_and_sockets_are_never_opened(segments: Segments, tmp_path: Path) -> None:
    path = tmp_path / "memfd"
    path.write_bytes(bytes(SIZE))
    reader, writer = os.pipe()
    with path.open("r+b") as file, socket.socket() as connection:
        for descriptor in (file.fileno(), reader, writer, connection.fileno()):
            with pytest.raises(SegmentRefusedError, match="it is no memfd"):
                segments.view(b"p", announced(descriptor))
    os.close(reader)
    os.close(writer)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The flags of all that was really opened, not only looked at."""
    flags_of: list[int] = []
    real = os.open

    def watched(path: str, flags: int) -> int:
        if not flags & os.O_PATH and path.startswith("/proc/") and "/fd/" in path:
            flags_of.append(flags)
        return real(path, flags)

    monkeypatch.setattr(os, "open", watched)
    return flags_of


def test_a_file_by_the_name_of_a_memfd_is_none(
    segments: Segments, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, opened: list[int]
) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(SIZE))
    monkeypatch.setattr(os, "readlink", lambda _: "/memfd:f (deleted)")
    with path.open("r+b") as file, pytest.raises(SegmentRefusedError, match="no memfd of ordinary memory"):
        segments.view(b"p", announced(file.fileno()))
    assert opened == []


def test_what_is_put_in_place_of_a_memfd_meanwhile_is_not_opened(
    segments: Segments, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, opened: list[int]
) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(SIZE))
    read = os.readlink
    with path.open("r+b") as file, shared_memory(SIZE) as memory:

        def swapped(link: str) -> str:
            found = read(link)
            os.dup2(file.fileno(), memory.descriptor)
            return found

        monkeypatch.setattr(os, "readlink", swapped)
        # What was looked at is what is opened: the memfd, under whatever number it is to be had now.
        view = segments.view(b"p", memory.segment)
        assert len(opened) == 1
        memory.mapping[:2] = b"ok"
        assert bytes(view[:2]) == b"ok"
        view.release()
        with pytest.raises(SegmentRefusedError, match="it is no memfd"):
            segments.view(b"p", announced(memory.descriptor))
        assert len(opened) == 1


def test_memory_of_huge_pages_is_refused(segments: Segments) -> None:
    try:
        descriptor = os.memfd_create("huge", os.MFD_HUGETLB | os.MFD_ALLOW_SEALING)
    except OSError as error:
        pytest.skip(f"no huge pages here: {error}")
    try:
        with pytest.raises(SegmentRefusedError, match="no memfd of ordinary memory"):
            segments.view(b"p", announced(descriptor))
    finally:
        os.close(descriptor)


def test_another_users_memory_is_refused(segments: Segments) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    with shared_memory(SIZE) as memory:
        os.fchown(memory.descriptor, 65534, 65534)
        with pytest.raises(SegmentRefusedError, match="it belongs to user 65534"):
            segments.view(b"p", memory.segment)


def test_what_was_sealed_can_neither_be_cut_nor_unsealed(segments: Segments) -> None:
    with shared_memory(SIZE) as memory:
        view = segments.view(b"p", memory.segment)
        for size in (0, SIZE * 2):
            with pytest.raises(PermissionError):
                os.ftruncate(memory.descriptor, size)
        with pytest.raises(PermissionError):
            fcntl.fcntl(memory.descriptor, 1033, 0x0008)
        assert bytes(view) == bytes(SIZE)
        view.release()


def test_the_first_refusal_of_a_process_is_told(segments: Segments, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger=room.__name__)
    segments.meet(b"q", US)
    with shared_memory(SIZE, 0) as memory:
        for number, peer in enumerate((b"p", b"p", b"q")):
            segments.sweep(100.0 + 10 * number)
            with pytest.raises(SegmentRefusedError):
                segments.view(peer, memory.segment)
    [record] = caplog.records
    assert record.levelname == "INFO"
    assert f"process {os.getpid()}: it is not sealed" in record.getMessage()
    assert "its large tensors travel in frames" in record.getMessage()


def test_refusals_of_many_processes_are_told_now_and_then(segments: Segments, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger=room.__name__)
    peers = [b"%d" % number for number in range(3)]
    for number, peer in enumerate(peers):
        segments.meet(peer, (os.geteuid(), (1 << 22) + 1 + number))
    for now_s, peer in zip((100.0, 100.1, 100.0 + LOG_S), peers, strict=True):
        segments.sweep(now_s)
        with pytest.raises(SegmentRefusedError, match="it can't be opened"):
            segments.view(peer, Segment(3, 1, 1, SIZE))
    assert len(caplog.records) == 2
    for peer in peers:
        segments.forget(peer)


def test_memory_with_holes_is_refused(segments: Segments) -> None:
    # To fill one takes a page of whoever touches it first; where there is none left, that ends in SIGBUS.
    with shared_memory(SIZE, has_holes=True) as memory:
        memory.mapping[:1] = b"x"
        with pytest.raises(SegmentRefusedError, match=f"of its {SIZE} bytes only {mmap.PAGESIZE} are allocated"):
            segments.view(b"p", memory.segment)


class TestQuotas:
    def test_a_client_has_so_many_segments(self, segments: Segments) -> None:
        with ExitStack() as stack:
            memories = several(stack, 4)
            views = [segments.view(b"p", memory.segment) for memory in memories[:3]]
            with pytest.raises(SegmentRefusedError, match=r"max_client_segments = 3 .* this client uses 3"):
                segments.view(b"p", memories[3].segment)
            del views

    def test_a_client_has_so_many_bytes(self, segments: Segments) -> None:
        with ExitStack() as stack:
            small, large = several(stack, 1)[0], several(stack, 1, SIZE * 3)[0]
            view = segments.view(b"p", small.segment)
            with pytest.raises(SegmentRefusedError, match=f"max_client_segment_bytes = {SIZE * 3}"):
                segments.view(b"p", large.segment)
            del view
            assert segments.view(b"p", large.segment) is not None
            assert mapped(segments)[0] == 1

    def test_connections_of_a_process_share_its_quota(self, segments: Segments) -> None:
        segments.meet(b"q", US)
        with ExitStack() as stack:
            memories = several(stack, 4)
            views = [segments.view(peer, memories[index].segment) for index, peer in enumerate((b"p", b"q", b"p"))]
            with pytest.raises(SegmentRefusedError, match="max_client_segments"):
                segments.view(b"q", memories[3].segment)
            del views

    def test_what_nobody_uses_makes_room_the_longest_unused_first(self, segments: Segments) -> None:
        with ExitStack() as stack:
            memories = several(stack, 4)
            for memory in memories[:3]:
                segments.view(b"p", memory.segment)
            segments.view(b"p", memories[0].segment)
            segments.view(b"p", memories[3].segment)
            kept = segments._clients[b"p"].mappings
            assert set(kept) == {memories[index].segment for index in (0, 2, 3)}
            assert segments._counters.segments_mapped_total == 4

    def test_all_clients_together_have_so_much(self, segments: Segments, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(room, "map_memfd", lambda pid, segment, device: mmap.mmap(-1, segment.byte_count))
        segments.meet(b"q", (os.geteuid(), os.getppid()))
        of_p = [segments.view(b"p", Segment(number, 1, number, SIZE)) for number in range(3)]
        of_q = segments.view(b"q", Segment(0, 1, 0, SIZE))
        with pytest.raises(SegmentRefusedError, match=f"max_segment_bytes = {SIZE * 4} all use 4 and {SIZE * 4}"):
            segments.view(b"q", Segment(1, 1, 1, SIZE))
        of_p.pop()
        assert segments.view(b"q", Segment(1, 1, 1, SIZE)) is not None
        del of_p, of_q

    def test_what_is_held_goes_on_being_counted_when_its_client_is_gone(self, segments: Segments) -> None:
        with shared_memory(SIZE) as memory:
            view = segments.view(b"p", memory.segment)
            segments.forget(b"p")
            assert mapped(segments) == (1, SIZE)
            view[:2] = b"ok"
            assert memory.mapping[:2] == b"ok"
            del view
            assert mapped(segments) == (0, 0)

    def test_where_descriptors_are_used_up_it_is_refused(self, segments: Segments) -> None:
        with shared_memory(SIZE) as memory:
            before = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
            try:
                with pytest.raises(SegmentRefusedError, match="can't be opened: Too many open files"):
                    segments.view(b"p", memory.segment)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, before)


class TestIdle:
    def test_what_is_not_used_for_a_while_goes(self, segments: Segments) -> None:
        segments.sweep(100.0)
        with ExitStack() as stack:
            old, new = several(stack, 2)
            segments.view(b"p", old.segment)
            segments.sweep(100.0 + IDLE_S / 2)
            segments.view(b"p", new.segment)
            segments.sweep(100.0 + IDLE_S)
            assert mapped(segments)[0] == 1
            segments.view(b"p", old.segment)
            assert mapped(segments)[0] == 2

    def test_what_is_held_stays(self, segments: Segments) -> None:
        segments.sweep(100.0)
        with shared_memory(SIZE) as memory:
            view = segments.view(b"p", memory.segment)
            segments.sweep(101.0 + IDLE_S)
            assert segments.view(b"p", memory.segment).obj is view.obj
            del view
            segments.sweep(102.0 + 2 * IDLE_S + SWEEP_S)
            assert mapped(segments) == (0, 0)


def test_mapping_again_and_again_leaves_nothing() -> None:
    before = memfds_of(), len(os.listdir("/proc/self/fd"))
    segments = Segments(QUOTAS, Counters())
    for number in range(50):
        peer = b"%d" % number
        segments.meet(peer, US)
        with shared_memory(SIZE) as memory:
            segments.view(peer, memory.segment)
            segments.forget(peer)
    assert (memfds_of(), len(os.listdir("/proc/self/fd"))) == before
    assert not segments._clients
    assert not segments._used_s
    assert not segments._uses
