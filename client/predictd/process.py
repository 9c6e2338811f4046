"""The process we are in, and what it must leave alone because another process made it.

Owns the answer to "is this still the process that made it?" and the list that keeps inherited things alive. After a
fork a child shares its parent's sockets: to use one spins for ever at 100 % CPU, to close one could disturb the parent.
So they are neither used nor closed nor collected, only set aside. Lock-free: a lock that another thread held during the
fork would stay locked in the child. The interpreter's own locks on modules that are being imported are such locks, so a
fork waits for the modules that we import late, and no such import begins until the fork is over. Any thread.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import AbstractContextManager


class Process:
    """One process; whatever belongs to a process keeps a reference to it and compares it by identity.

    Attributes:
        pid: Its process id.
    """

    __slots__ = ("pid",)

    def __init__(self, pid: int) -> None:
        self.pid: int = pid

    def __repr__(self) -> str:
        return f"Process({self.pid})"


_processes: dict[int, Process] = {}
_set_aside: list[object] = []


def this_process() -> Process:
    """Return the process that runs this.

    The pid is compared on every call: hooks alone would not do, because some servers fork in C and run none.
    """
    pid = os.getpid()
    found = _processes.get(pid)
    return found if found is not None else _processes.setdefault(pid, Process(pid))


def set_aside(inherited: object) -> None:
    """Keep something that another process made for as long as this one lives: unused, not closed, not collected."""
    _set_aside.append(inherited)


def _forget_ancestors() -> None:
    # A child can be given the pid that a dead ancestor of it had; its entry must not be found then.
    _set_aside.append(dict(_processes))
    _processes.clear()


#: Reentrant: where gevent or eventlet patch later, a thread is the holder with all its greenlets.
_importing = threading.RLock()


def importing() -> AbstractContextManager[object]:
    """Return what to hold while one of our modules is imported late: no fork comes in between."""
    return _importing


def _finish_imports() -> None:
    """Wait for those of our modules that another thread is importing: the child would have half of one, locked."""
    # Listed at once: other threads import meanwhile.
    for name in [name for name in list(sys.modules) if name.startswith("predictd")]:
        if getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", False):
            __import__(name)


def _before_fork() -> None:
    _importing.acquire()
    _finish_imports()  # those that a program imports by itself


def _begin_in_child() -> None:
    _importing.release()
    _forget_ancestors()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_importing.release, after_in_child=_begin_in_child)
