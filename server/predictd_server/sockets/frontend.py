"""The data pump: moves frames between the ROUTER socket, the core and the engine.

Owns the data socket and the one thread that touches it. It decides nothing: rules live in the core. A batch that is
expected to be short runs right here, because handing it to another thread costs more than running it (GIL hand-overs:
3,100 to 4,500 against 4,400 to 8,000 requests/s with 8 callers); libzmq's own thread keeps receiving meanwhile. While a
long one runs on the engine's thread, short ones of other models run here beside it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from time import monotonic
from typing import TYPE_CHECKING, Any

import zmq

from predictd_proto.errors import ServerDrainingError
from predictd_proto.limits import Limits
from predictd_proto.tensors import Buffer
from predictd_server.engine import Engine
from predictd_server.serving.batch import Batch, Run
from predictd_server.serving.calling_task import named_tasks
from predictd_server.serving.core import Core
from predictd_server.serving.counters import Counters
from predictd_server.sockets.connection_events import (
    ConnectionEvents,
    descriptor_of,
    last_made_up_id,
    owner_of,
    process_of,
)
from predictd_server.sockets.presence import Presence, may_be_unique
from predictd_server.sockets.routers import LINGER_MS, bind_router, router_socket
from predictd_server.sockets.segments import Segments

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

# As numbers: `zmq.SNDMORE | zmq.NOBLOCK` makes an enum member each time, 1 microsecond of a request's 20.
_NOBLOCK = int(zmq.NOBLOCK)
_MORE = int(zmq.SNDMORE)
_EVENTS = int(zmq.EVENTS)
_READABLE = int(zmq.POLLIN)
_MORE_NOBLOCK = _MORE | _NOBLOCK

#: Messages taken in before a batch gets its turn, so that a flood can't keep the engine idle.
MOST_RECEIVES = 256

#: Messages that come together, up to which the pump asks the socket before each further one whether there is one: that
#: takes 1.3 microseconds, to try and find none 4.
MOST_SPARSE = 2

#: An idle pump turns this often, to show that it lives and to see that it is to drain.
IDLE_TURN_MS = 200

#: The socket stays open for this long after the drain: a client's libzmq throws away what its caller has not read
#: yet when it sees the connection end, the reply with it.
GRACE_S = 0.5

#: While requests come without a pause, the pump looks this often at who has left.
LOOK_S = 0.05

#: Before a client is forgotten, what it sent before it left is taken in: so many times `MOST_RECEIVES` at most.
MOST_ROUNDS = 4

#: Whose work was released is logged this often at most; in between only where debugging is on.
LOG_S = 1.0
MOST_NAMED = 5


class Frontend:
    """The data socket and its thread.

    Args:
        context: zmq's.
        endpoint: Where to listen.
        limits: What one message may hold.
        counters: Where lost replies are counted.
        inline_s: Batches expected to take no longer run on this thread.
        segments: The memory that clients share.

    Attributes:
        beat_s: When the loop last turned (monotonic).
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        *,
        endpoint: str,
        limits: Limits,
        counters: Counters,
        inline_s: float,
        segments: Segments,
    ) -> None:
        self._segments = segments
        self._endpoint = endpoint
        self._counters = counters
        self._inline_s = inline_s
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._socket = router_socket(context, limits)
        self._presence = Presence(last_made_up_id(context, self._socket))
        self._events = ConnectionEvents(context, self._socket)
        self._socket.setsockopt(zmq.RCVTIMEO, IDLE_TURN_MS)
        self._option: Callable[[int], Any] = self._socket.get
        # That of the class below: pyzmq's public `send` only adds what other kinds of socket need, 0.4 microseconds.
        self._send_frame: Callable[[Buffer, int], object] = super(zmq.Socket, self._socket).send
        self._is_blind = False
        self._newest_burst = 0
        self._look_s = 0.0
        self._log_s = 0.0
        self._most_frames = limits.max_tensors + 1
        self._drain_until_s: float | None = None
        self._thread: threading.Thread | None = None
        self.beat_s = monotonic()

    def bind(self) -> None:
        """Begin to listen; clients that come early are told that models are loading.

        Raises:
            ConfigError: The endpoint can't be bound.
        """
        bind_router(self._socket, self._endpoint)

    def start(self, core: Core, engine: Engine) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._loop, args=(core, engine), name="predictd-pump", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Make the loop turn now. Any thread."""
        with contextlib.suppress(BlockingIOError):  # a full pipe wakes it as well
            os.write(self._wake_writer, b"\0")

    def drain(self, until_s: float) -> None:
        """Refuse new work, finish what was admitted, answer the rest at `until_s` (monotonic), then end. Any thread."""
        self._drain_until_s = until_s
        self.wake()

    @property
    def is_alive(self) -> bool:
        """Whether the thread lives."""
        return self._thread is not None and self._thread.is_alive()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread's end; return whether it ended."""
        if self._thread is not None:
            self._thread.join(timeout_s)
        return not self.is_alive

    def _loop(self, core: Core, engine: Engine) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._wake_reader, zmq.POLLIN)
        poller.register(self._events.socket, zmq.POLLIN)
        try:
            waiting = _NOBLOCK
            while not self._is_drained(core, engine):
                self.beat_s = monotonic()
                has_received = self._receive(core, waiting)
                if self.beat_s >= self._look_s:
                    self._see_off(core)
                has_run = self._turn_engine(core, engine)
                self._send(core)
                if core.is_idle and not engine.is_busy:
                    # Only a message can bring something to do. To find that there is none yet takes an exception, 4 us.
                    waiting = 0
                elif has_received or has_run:
                    waiting = _NOBLOCK
                else:
                    waiting = self._wait(poller, core, engine)
            self._refuse_until(core, monotonic() + GRACE_S)
        finally:
            self._events.close()
            self._socket.close(LINGER_MS)

    def _refuse_until(self, core: Core, end_s: float) -> None:
        """Answer what has arrived and still arrives, so that nobody who asks meanwhile is left without an answer."""
        while monotonic() < end_s:
            self._receive(core, 0)
            self._send(core)

    def _receive(self, core: Core, waiting: int) -> bool:
        """Take in what has arrived; return whether anything had. `waiting` is 0 to wait for the first message."""
        receive, known = self._socket.recv, self._presence.known
        asks_first = self._newest_burst <= MOST_SPARSE
        for count in range(MOST_RECEIVES):
            self._newest_burst = count
            if count and asks_first and not self._option(_EVENTS) & _READABLE:
                return True
            try:
                peer = receive(_NOBLOCK if count else waiting)
            except zmq.Again:
                return count > 0
            # Without a copy, as a frame knows whether there are more: asking the socket takes 0.7 microseconds.
            frame = receive(0, False)
            if peer not in known:
                self._meet(peer, frame)
            frames: list[Buffer] = [frame.bytes]
            while frame.more:
                frame = receive(0, False)
                # One too many is enough for the core to refuse the message; the rest of it is not kept.
                if len(frames) <= self._most_frames:
                    frames.append(frame.buffer)
            try:
                core.receive(peer, frames, monotonic())
            except Exception:  # a bug of ours must cost one request, not all of them
                _log.exception("internal error while taking a message in")
                core.fail_message(peer, frames)
        return True

    def _meet(self, peer: bytes, frame: zmq.Frame) -> None:
        """Note whose a connection is by the first frame of a message that came over it."""
        if self._is_blind or not may_be_unique(peer):
            return
        descriptor = descriptor_of(frame)
        if descriptor is None:
            self._is_blind = True
            _log.warning("this libzmq does not tell connections apart: a vanished client's work waits for its deadline")
            return
        # In this order: see `Presence`.
        self._events.read(self._presence)
        self._presence.meet(peer, descriptor, process_of(frame))
        if peer in self._presence.known:
            self._segments.meet(peer, owner_of(frame))
        if self._presence.has_left:
            self._look_s = 0.0

    def _see_off(self, core: Core) -> None:
        """Release what those have queued, and share, who have left."""
        self._look_s = self.beat_s + LOOK_S
        self._segments.sweep(self.beat_s)
        self._events.read(self._presence)
        if not self._presence.has_left:
            return
        # What they sent before they left is in the socket by now, a cancel perhaps: it comes first.
        for _ in range(MOST_ROUNDS):
            if not self._receive(core, _NOBLOCK):
                break
        left = self._presence.take_left()
        for peer in left:
            self._segments.forget(peer)
        released: list[str] = []
        kept: list[str] = []
        for peer, who in left.items():
            for texts, requests in zip((released, kept), core.forget(peer, self.beat_s), strict=True):
                if requests:
                    texts.append(f"{len(requests)} of {who}{named_tasks(requests)}")
        if released or kept:
            level = logging.INFO if self.beat_s >= self._log_s else logging.DEBUG
            self._log_s = self.beat_s + LOG_S
            _tell(level, "clients that are gone had requests in the queue, which were released: %s", released)
            _tell(level, "clients that are gone had requests, which are kept for their tasks' next runs: %s", kept)

    def _turn_engine(self, core: Core, engine: Engine) -> bool:
        """Collect what is done and run what waits; return whether anything was run to its end."""
        done = engine.collect()
        if done is not None:
            self._finish(core, *done)
        now = monotonic()
        if engine.is_busy:
            core.sweep(now)
            batch = core.next_batch(now, self._inline_s)
            if batch is None:
                return done is not None
            self._finish(core, batch, engine.run_beside(batch))
            return True
        batch = core.next_batch(now)
        if batch is None:
            return done is not None
        if batch.expected_s > self._inline_s:
            engine.submit(batch)
            return True
        runs = engine.run(batch)
        if monotonic() - now > LOOK_S:
            # Who left meanwhile is no longer answered, but what was done for its task is kept.
            self.beat_s = monotonic()
            self._see_off(core)
        self._finish(core, batch, runs)
        return True

    def _finish(self, core: Core, batch: Batch, runs: list[Run]) -> None:
        try:
            core.finish(batch, runs)
        except Exception:  # likewise
            _log.exception("internal error while answering a batch")
            core.fail_batch(batch)

    def _send(self, core: Core) -> None:
        send = self._send_frame
        for peer, frames in core.take_replies():
            try:
                send(peer, _MORE_NOBLOCK)
                for frame in frames[:-1]:
                    send(frame, _MORE)
                send(frames[-1], 0)
            except (zmq.Again, zmq.ZMQError) as error:
                # EHOSTUNREACH: the client is gone. EAGAIN: it reads none of its replies. Neither may stop others.
                self._counters.replies_lost_total += 1
                _log.debug("a reply was lost: %s", error)

    def _wait(self, poller: zmq.Poller, core: Core, engine: Engine) -> int:
        """Wait for something to do, where that may be other than a message; return how `_receive` is to go on."""
        timeout_ms: float = IDLE_TURN_MS
        wakeup = core.next_wakeup(self._inline_s if engine.is_busy else None)
        if wakeup is not None:
            # One more: poll takes whole milliseconds, and a wait rounded down would spin until the window closes.
            timeout_ms = min(max(wakeup - monotonic(), 0.0) * 1000 + 1, IDLE_TURN_MS)
        for source, _ in poller.poll(int(timeout_ms)):
            if source == self._wake_reader:
                os.read(self._wake_reader, 4096)
            elif source is self._events.socket:
                self._look_s = 0.0
        return _NOBLOCK

    def _is_drained(self, core: Core, engine: Engine) -> bool:
        if self._drain_until_s is None:
            return False
        core.drain()
        if monotonic() >= self._drain_until_s:
            text = "the server shut down before this request's turn came; try again when it is back"
            core.abandon(ServerDrainingError(text))
        return core.open_requests == 0 and not core.has_replies


def _tell(level: int, text: str, whose: list[str]) -> None:
    """Log whose requests these were, if there are any: so many of each client's."""
    if whose:
        more = f" and of {len(whose) - MOST_NAMED} more" if len(whose) > MOST_NAMED else ""
        _log.log(level, text, ", ".join(whose[:MOST_NAMED]) + more)
