"""Segments: memory of clients, mapped here, so that large tensors are read and written where they are.

Owns the mappings, what each client and all together may have mapped, and when a mapping goes. Pump thread only. A
mapping is only remembered here: whoever reads or writes one holds it, so it may be forgotten at any moment, and nothing
that a client does takes it away.

What is mapped is what a client of the same user announces, and its process is the one that the kernel names, never the
message. Only a memfd of ordinary memory is accepted, which can neither shrink nor have its seals changed, and all of
whose pages are there: so no access ends in SIGBUS for want of a page, and what it takes is the client's. (In a memfd of
huge pages one can. It lies in another file system.) Only a client that punches holes into it afterwards, and leaves no
page to fill them, can still bring that about; it runs as the same user, who could kill this process as well.
"""

from __future__ import annotations

import logging
import mmap
import os
import weakref
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from predictd_proto.errors import SegmentRefusedError
from predictd_proto.segments import Segment, SegmentLimits
from predictd_server.serving.counters import Counters
from predictd_server.sockets.memfds import map_memfd, memfd_mount

_log = logging.getLogger(__name__)

#: A mapping that was not used for so long goes: clients hold on to their segments, and seldom to all of them.
IDLE_S = 10.0

#: Between two lines of the log about refusals; those that come too early for one are told at level debug.
LOG_S = 1.0

#: Between looks at which are idle.
SWEEP_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentQuotas:
    """What may be mapped at once.

    Attributes:
        max_segments: Segments of all clients.
        max_bytes: Their bytes together; 0 shares nothing.
        max_client_segments: Segments of one client.
        max_client_bytes: Their bytes together.
    """

    max_segments: int
    max_bytes: int
    max_client_segments: int
    max_client_bytes: int

    @property
    def of_client(self) -> SegmentLimits:
        """What one client may have."""
        return SegmentLimits(
            max_segments=min(self.max_client_segments, self.max_segments),
            max_bytes=min(self.max_client_bytes, self.max_bytes),
        )


@dataclass(eq=False)
class _Use:
    """What is mapped: in all, or of one process. Held by whatever is mapped, and referred to weakly else."""

    segments: int = 0
    bytes: int = 0
    was_refused: bool = False

    def add(self, size: int) -> None:
        self.segments += 1
        self.bytes += size

    def give_back(self, size: int) -> None:
        self.segments -= 1
        self.bytes -= size

    def is_within(self, limits: SegmentLimits, more_bytes: int) -> bool:
        return self.segments < limits.max_segments and self.bytes + more_bytes <= limits.max_bytes


@dataclass(slots=True, eq=False)
class _Client:
    """One connection that may share memory."""

    pid: int
    use: _Use
    mappings: dict[Segment, mmap.mmap] = field(default_factory=dict)


class Segments:
    """The memory of all clients.

    Args:
        quotas: What may be mapped.
        counters: Where it is counted.
    """

    def __init__(self, quotas: SegmentQuotas, counters: Counters) -> None:
        self._quotas = quotas
        self._counters = counters
        self._all = _Use()
        self._uses: weakref.WeakValueDictionary[int, _Use] = weakref.WeakValueDictionary()
        self._clients: dict[bytes, _Client] = {}
        # Filled by whichever thread lets go of a mapping; a deque's append is atomic, a number's -= is not.
        self._released: deque[tuple[_Use, int]] = deque()
        #: By last use, the longest ago first.
        self._used_s: OrderedDict[tuple[bytes, Segment], float] = OrderedDict()
        self._swept_s = 0.0
        self._log_s = 0.0
        self._now_s = 0.0
        self._mount = memfd_mount() if quotas.max_bytes else None

    def meet(self, peer: bytes, owner: tuple[int, int] | None) -> None:
        """Take note of a client whose end will be told by `forget`.

        Args:
            peer: Its routing id.
            owner: User and process at the other end, as the kernel has it; None where it has none.
        """
        if self._mount is None or owner is None:
            return
        uid, pid = owner
        # 0 is a process of a name space that can't be seen from here.
        if uid == os.geteuid() and pid > 0:
            use = self._uses.get(pid)
            if use is None:
                use = self._uses[pid] = _Use()
            self._clients[peer] = _Client(pid, use)

    def offer(self, peer: bytes) -> SegmentLimits | None:
        """Return what is mapped for a client; None for nothing."""
        return self._quotas.of_client if peer in self._clients else None

    def view(self, peer: bytes, segment: Segment) -> memoryview:
        """Return a segment's memory, which may be written to; it stays while it is held.

        Raises:
            SegmentRefusedError: It can't be had; the text says why.
        """
        client = self._clients.get(peer)
        if client is None:
            self._counters.segments_refused_total += 1
            text = "shared memory: this client's process is another user's, not known or not in reach; "
            text += "send the tensors in frames"
            raise SegmentRefusedError(text)
        mapping = client.mappings.get(segment)
        if mapping is None:
            try:
                mapping = self._map(client, segment)
            except SegmentRefusedError as error:
                self._counters.segments_refused_total += 1
                self._tell(client, error)
                raise
            client.mappings[segment] = mapping
        key = (peer, segment)
        self._used_s[key] = self._now_s
        self._used_s.move_to_end(key)
        return memoryview(mapping)

    def forget(self, peer: bytes) -> None:
        """Let go of the memory of a client that is gone."""
        client = self._clients.pop(peer, None)
        if client is not None:
            for segment in client.mappings:
                del self._used_s[peer, segment]
            client.mappings.clear()
        self._settle()

    def sweep(self, now_s: float) -> None:
        """Let go of what was not used for a while. To be called often: its time is that of all that is used next."""
        self._now_s = now_s
        if now_s < self._swept_s + SWEEP_S:
            return
        self._swept_s = now_s
        self._settle()
        while self._used_s:
            key, used_s = next(iter(self._used_s.items()))
            if now_s < used_s + IDLE_S:
                return
            self._drop(key)  # one that is held counts as used just now

    def _tell(self, client: _Client, error: SegmentRefusedError) -> None:
        """Log the first refusal of a process: what it means for that one shows nowhere else."""
        if client.use.was_refused:
            return
        client.use.was_refused = True
        level = logging.INFO if self._now_s >= self._log_s else logging.DEBUG
        if level == logging.INFO:
            self._log_s = self._now_s + LOG_S
        text = "memory of client process %d was refused; for a while its large tensors travel in frames: %s"
        _log.log(level, text, client.pid, error.message)

    def _drop(self, key: tuple[bytes, Segment]) -> bool:
        """Let go of a mapping; return False where somebody holds it: it would stay, and be mapped twice when used."""
        peer, segment = key
        mappings = self._clients[peer].mappings
        try:
            mappings[segment].close()
        except BufferError:
            self._used_s[key] = self._now_s
            self._used_s.move_to_end(key)
            return False
        del mappings[segment], self._used_s[key]
        return True

    def _map(self, client: _Client, segment: Segment) -> mmap.mmap:
        limits = self._quotas.of_client
        size = segment.byte_count
        all_limits = SegmentLimits(max_segments=self._quotas.max_segments, max_bytes=self._quotas.max_bytes)
        self._settle()
        while not (client.use.is_within(limits, size) and self._all.is_within(all_limits, size)):
            if not self._make_room(client, is_own=not client.use.is_within(limits, size)):
                text = (
                    f"shared memory: no room for {size} bytes: of max_client_segments = {limits.max_segments} and "
                    f"max_client_segment_bytes = {limits.max_bytes} this client uses {client.use.segments} and "
                    f"{client.use.bytes}, of max_segments = {all_limits.max_segments} and max_segment_bytes = "
                    f"{all_limits.max_bytes} all use {self._all.segments} and {self._all.bytes}"
                )
                raise SegmentRefusedError(text)
            self._settle()
        assert self._mount is not None, "a client was met where nothing is shared"
        mapping = map_memfd(client.pid, segment, self._mount)
        client.use.add(size)
        self._all.add(size)
        # Not when it is forgotten: whoever holds it still has it mapped.
        weakref.finalize(mapping, self._released.append, (client.use, size)).atexit = False
        self._counters.segments_mapped_total += 1
        return mapping

    def _settle(self) -> None:
        """Count what is no longer mapped."""
        while self._released:
            use, size = self._released.popleft()
            use.give_back(size)
            self._all.give_back(size)
            self._counters.segments_released_total += 1

    def _make_room(self, client: _Client, *, is_own: bool) -> bool:
        """Let go of the mapping that was not used for longest and that nobody holds; return whether there was any.

        Args:
            client: Who needs it.
            is_own: Only its own.
        """
        for key in list(self._used_s):
            if (not is_own or self._clients[key[0]].use is client.use) and self._drop(key):
                return True
        return False
