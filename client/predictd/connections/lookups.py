"""Look-ups: the addresses that a host name stands for, within a bounded time.

Owns the threads that ask the name service, which nothing can interrupt: each is a daemon's, asks once and ends with its
answer; callers stop waiting for it when their time is up, and those who come meanwhile wait for the same one. Numeric
addresses need none. Any thread; what another process has asked for is not waited for.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from time import monotonic
from typing import Any

from predictd.deadline import Deadline
from predictd.process import Process, this_process

#: How long an answer is used: as long as a few looks at whether a server is up yet.
KEEP_S = 2.0

Addresses = list[tuple[Any, Any, int, str, Any]]

_lookups: dict[tuple[Process, str, int], Lookup] = {}


class NameServiceSilent(TimeoutError):  # noqa: N818  (a signal between modules)
    """The name service has not answered in time."""


class Lookup:
    """One question to the name service.

    Args:
        host: The name.
        port: The port, which the addresses hold as well.
    """

    __slots__ = ("_addresses", "_ended_s", "_error", "_has_ended", "_host", "_port")

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._addresses: Addresses = []
        self._error: OSError | None = None
        self._ended_s = 0.0
        self._has_ended = threading.Event()
        try:
            threading.Thread(target=self._ask, name="predictd-lookup", daemon=True).start()
        except RuntimeError:  # the interpreter is ending, or the system has no thread left
            self._ask()

    @property
    def is_stale(self) -> bool:
        """Whether its answer is too old to be used."""
        return self._has_ended.is_set() and monotonic() - self._ended_s > KEEP_S

    def addresses(self, deadline: Deadline) -> Addresses:
        """Return the addresses, as `socket.getaddrinfo` does.

        Raises:
            NameServiceSilent: There is no answer yet.
            OSError: The name is unknown.
        """
        if not self._has_ended.wait(deadline.remaining_ms / 1000):
            raise NameServiceSilent
        if self._error is not None:
            raise self._error.with_traceback(None)
        return self._addresses

    def _ask(self) -> None:
        try:
            self._addresses = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except OSError as error:
            self._error = error
        except UnicodeError as error:  # a label of no or too many letters
            self._error = socket.gaierror(socket.EAI_NONAME, str(error))
        finally:
            self._ended_s = monotonic()
            self._has_ended.set()


def addresses_of(host: str, port: int, deadline: Deadline) -> Addresses:
    """Return the addresses that a name stands for.

    Raises:
        NameServiceSilent: The name service did not answer by the deadline.
        OSError: The name is unknown.
    """
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, ValueError):
            socket.inet_pton(family, host)
            return [(family, socket.SOCK_STREAM, 0, "", (host, port))]
    key = (this_process(), host, port)
    lookup = _lookups.get(key)
    if lookup is None or lookup.is_stale:
        # Of two threads each asks once; the later answer is kept.
        lookup = _lookups[key] = Lookup(host, port)
    return lookup.addresses(deadline)
