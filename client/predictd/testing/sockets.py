"""Sockets for a fake: a thread that carries frames between real sockets and whoever answers them.

Owns the two ROUTER sockets, their thread, and that they are wholly gone when the fake is. What may take its time is run
by a thread beside it, so that handshakes never wait for it. The only module here that knows ZeroMQ. It waits in
poll(2), as the client does, so that it works in processes that gevent or eventlet patched.
"""

from __future__ import annotations

import heapq
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count

import zmq

from predictd.connections.polling import new_poll
from predictd.connections.probe import is_listening
from predictd.deadline import Deadline
from predictd.testing.answering import AnsweringThread
from predictd.testing.bell import Bell
from predictd.testing.presence import Presence
from predictd.testing.turn import Reply
from predictd_proto.dtypes import Buffer
from predictd_proto.endpoints import Endpoint
from predictd_proto.errors import ConfigError, PredictdError

#: Answers a message at once, or by a function that may take its time.
Take = Callable[[Sequence[Buffer]], "Sequence[Reply] | Callable[[], Sequence[Reply]]"]

#: Replies that wait for their moment.
Held = list[tuple[float, int, "zmq.Socket[bytes]", "list[Buffer]"]]

#: Longest single wait: whatever wake-up an event loop loses costs no more than this.
_SLICE_MS = 100.0
_PATIENCE_S = 60.0

#: For a look at whether somebody listens there already.
_LOOK_MS = 2_000

#: What was answered before the end still leaves; a peer that reads nothing holds the end up no longer than this.
_LINGER_MS = 500


class SocketThread:
    """Listens at an endpoint while its fake is there.

    Args:
        endpoint: Where.
        take: Takes a message and returns what is sent back, or a function that returns it; that is run elsewhere.
        presence: When the fake is there.
        take_control: What takes the messages of the control socket; None for `take`.

    Attributes:
        error: Why it listens no longer; None while nobody has to be told.
    """

    def __init__(self, endpoint: Endpoint, take: Take, presence: Presence, *, take_control: Take | None = None) -> None:
        self._endpoint = endpoint
        self._takes = (take, take_control or take)
        self._presence = presence
        self._is_stopping = False
        self.error: PredictdError | None = None
        #: The life in which it listens; 0 while it does not.
        self._life = 0
        self._turned = threading.Event()
        self._bell = Bell()
        self._answering = AnsweringThread()
        #: What it answered: in which life, to which socket and peer.
        self._answered: deque[tuple[int, zmq.Socket[bytes], bytes, Sequence[Reply]]] = deque()
        self._thread = threading.Thread(target=self._run, name="predictd-fake", daemon=True)

    def start(self) -> None:
        """Begin to listen; it does when this returns.

        Raises:
            ConfigError: The endpoint can't be bound, or somebody answers there already: ZeroMQ would take a live
                daemon's socket file over in silence, and remove it in the end.
        """
        if is_listening(self._endpoint.data, Deadline(_LOOK_MS)):
            text = f"a server listens at {self._endpoint} already; give this fake an endpoint of its own"
            raise ConfigError(text)
        self._thread.start()
        self._presence.watch(self._follow)
        self._wait(lambda: bool(self._life))
        if not self._life:
            error = self.error or ConfigError(f"a fake does not listen at {self._endpoint} after {_PATIENCE_S:g} s")
            self.stop()
            raise error

    def stop(self) -> bool:
        """Close the sockets and end the threads; connections are gone when this returns.

        Returns:
            Whether all that was being answered has ended.
        """
        self._presence.unwatch(self._follow)
        self._is_stopping = True
        self._bell.ring()
        self._thread.join(_PATIENCE_S)
        if not self._thread.is_alive():
            # Not under a thread that polls it: its descriptor will be somebody else's.
            self._bell.close()
        return self._answering.stop()

    def _follow(self) -> None:
        """Do as the fake does, and return when it is done: what is gone, or back, is so for the next line of a test."""
        self._bell.ring()
        if threading.current_thread() is not self._thread:
            self._wait(lambda: self._life == (self._presence.life if self._presence.is_here else 0))
            if self._presence.is_here and self.error is not None:
                error, self.error = self.error, None
                raise error

    def _wait(self, predicate: Callable[[], bool]) -> None:
        end_s = time.monotonic() + _PATIENCE_S
        while not predicate() and self._thread.is_alive() and time.monotonic() < end_s:
            self._turned.wait(_SLICE_MS / 1000)
            self._turned.clear()

    def _run(self) -> None:
        try:
            while not self._is_stopping:
                if self._presence.is_here:
                    self._live()
                else:
                    self._pause(self._presence.back_in_s)
        except PredictdError as error:
            self.error = error
        except Exception as error:  # it must not end in silence
            self.error = ConfigError(
                f"a fake can listen at {self._endpoint} no longer: {type(error).__name__}: {error}"
            )
        finally:
            self._turned.set()

    def _pause(self, seconds: float | None) -> None:
        wait_ms = _SLICE_MS if seconds is None else min(seconds * 1000, _SLICE_MS)
        new_poll(self._bell.descriptor).poll(wait_ms)
        self._bell.silence()

    def _live(self) -> None:
        """Listen for one life of the fake. Its context ends with it: only then are the socket files surely gone."""
        life = self._presence.life
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        sockets: list[zmq.Socket[bytes]] = []
        try:
            sockets.extend(_bound(context, address) for address in (self._endpoint.data, self._endpoint.control))
            self._life = life
            self._turned.set()
            self._serve(sockets, life)
        finally:
            for socket in sockets:
                socket.close(_LINGER_MS)
            context.destroy(_LINGER_MS)
            if sockets:
                # libzmq leaves them lying.
                for path in (self._endpoint.path, self._endpoint.control_path):
                    if path is not None:
                        with suppress(FileNotFoundError):
                            os.unlink(path)
            self._life = 0
            self._turned.set()

    def _serve(self, sockets: list[zmq.Socket[bytes]], life: int) -> None:
        poll = new_poll(*[int(socket.fileno()) for socket in sockets], self._bell.descriptor)
        held: Held = []
        number = count()
        while not self._is_stopping and self._presence.life == life:
            now_s = time.monotonic()
            while held and held[0][0] <= now_s:
                _, _, socket, frames = heapq.heappop(held)
                _send(socket, frames)
            while self._answered:
                born, socket, peer, replies = self._answered.popleft()
                if born == life:
                    _reply(socket, peer, replies, held, number)
            # All that is there, before waiting: the descriptors only say "look again".
            turns = zip(sockets, self._takes, strict=True)
            if any([self._turn(socket, take, held, number, life) for socket, take in turns]):
                continue
            due_ms = (held[0][0] - now_s) * 1000 if held else _SLICE_MS
            poll.poll(max(min(due_ms, _SLICE_MS), 0.0))
            self._bell.silence()

    def _turn(
        self,
        socket: zmq.Socket[bytes],
        take: Take,
        held: Held,
        number: count[int],
        life: int,
    ) -> bool:
        """Take one message; return whether there was one."""
        if self._presence.life != life or not int(socket.get(zmq.EVENTS)) & zmq.POLLIN:
            return False
        peer, *frames = socket.recv_multipart()
        replies = take(frames)
        if callable(replies):
            self._answer_later(replies, life, socket, peer)
        elif self._presence.life == life:
            _reply(socket, peer, replies, held, number)
        return True

    def _answer_later(
        self, answer: Callable[[], Sequence[Reply]], life: int, socket: zmq.Socket[bytes], peer: bytes
    ) -> None:
        def run() -> None:
            self._answered.append((life, socket, peer, answer()))
            self._bell.ring()

        self._answering.run(run)


def _reply(socket: zmq.Socket[bytes], peer: bytes, replies: Sequence[Reply], held: Held, number: count[int]) -> None:
    for reply in replies:
        if reply.after_ms:
            due_s = time.monotonic() + reply.after_ms / 1000
            heapq.heappush(held, (due_s, next(number), socket, [peer, *reply.frames]))
        else:
            _send(socket, [peer, *reply.frames])


def _send(socket: zmq.Socket[bytes], frames: list[Buffer]) -> None:
    socket.send_multipart(frames)


def _bound(context: zmq.Context[zmq.Socket[bytes]], address: str) -> zmq.Socket[bytes]:
    socket: zmq.Socket[bytes] | None = None
    try:
        socket = context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.LINGER, _LINGER_MS)
        # A test that asks for a thousand things at once gets a thousand answers.
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.setsockopt(zmq.RCVHWM, 0)
        if address.startswith("tcp://"):
            socket.setsockopt(zmq.IPV6, 1)
        socket.bind(address)
    except zmq.ZMQError as error:
        if socket is not None:
            socket.close(0)
        text = f"a fake can't listen at {address}: {error.strerror}"
        raise ConfigError(text) from error
    return socket
