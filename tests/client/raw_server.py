"""Peers that are no good: they speak the bytes of ZeroMQ by hand, or others, up to a chosen point."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

from predictd_proto.frames import decode, encode
from predictd_proto.messages import Message, Welcome

GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x04\x1c\x05READY\x0bSocket-Type\x00\x00\x00\x06ROUTER"
LONG_FRAME = b"\x02"
WELCOME = Welcome(version=1, server_id="raw", server="0", state="ready")


class RawServer:
    """Accepts connections and treats each with a function of its own.

    Args:
        path: Where to listen.
        treat: Gets the connection; it is closed when this returns.
    """

    def __init__(self, path: str, treat: Callable[[socket.socket], None]) -> None:
        self._treat = treat
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen(16)
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def __enter__(self) -> RawServer:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(30)

    def _loop(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._guarded, args=(connection,), daemon=True).start()

    def _guarded(self, connection: socket.socket) -> None:
        with connection:
            try:
                self._treat(connection)
            except (OSError, EOFError):
                return


def shake_hands(connection: socket.socket) -> None:
    """Do what ZeroMQ does before the first message."""
    connection.sendall(GREETING)
    read(connection, len(GREETING))
    connection.sendall(READY)
    flag, size = read(connection, 2)
    assert flag == READY[0]
    read(connection, size)


def receive(connection: socket.socket) -> Message:
    """Receive a message of one short frame."""
    while True:
        flag = read(connection, 1)[0]
        size = int.from_bytes(read(connection, 8 if flag & 2 else 1), "big")
        body = read(connection, size)
        if not flag & 4:
            return decode([body])


def send(connection: socket.socket, message: Message) -> None:
    (frame,) = encode(message)
    connection.sendall(LONG_FRAME + len(frame).to_bytes(8, "big") + bytes(frame))


def send_half(connection: socket.socket, size: int) -> None:
    connection.sendall(LONG_FRAME + size.to_bytes(8, "big") + bytes(size // 2))


def read(connection: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        part = connection.recv(size - len(got))
        if not part:
            raise EOFError
        got += part
    return got
