"""The exit wait: a program that ends while its `submit` requests are under way lets them finish first.

Owns which dispatchers work in this process, and how long their end is waited for: as long as answers keep coming, and
no longer, so that no program hangs. What is left then is said on stderr. It takes no lock: a thread that will never run
again could hold it. The thread that ends the interpreter.
"""

from __future__ import annotations

import atexit
import sys
from time import monotonic
from typing import TYPE_CHECKING

from predictd.process import this_process

if TYPE_CHECKING:
    from predictd.in_flight.dispatcher import Dispatcher

#: Without any answer for that long, none is expected any more.
PATIENCE_S = 5.0

_LOOK_S = 0.05

_working: set[Dispatcher] = set()


def wait_for(dispatcher: Dispatcher) -> None:
    """Have the end of the program wait for what is submitted to a dispatcher."""
    _working.add(dispatcher)


def forget(dispatcher: Dispatcher) -> None:
    """Don't any more: its thread has ended."""
    _working.discard(dispatcher)


def _finish() -> None:
    left = sum(_outlasted(dispatcher) for dispatcher in tuple(_working) if dispatcher.process is this_process())
    if left and sys.stderr is not None:
        were = "request was" if left == 1 else "requests were"
        text = f"predictd: {left} submitted {were} not finished at exit: no answer came for {PATIENCE_S:.0f} s"
        sys.stderr.write(f"{text}\n")


def _outlasted(dispatcher: Dispatcher) -> int:
    """Wait for a dispatcher's end; return how many requests it still has."""
    if not dispatcher.unfinished:
        return 0
    dispatcher.is_ending = True  # not by `end`, which takes a lock; it looks up often while it has something to do
    unfinished, since_s = dispatcher.unfinished, monotonic()
    while monotonic() - since_s < PATIENCE_S and not dispatcher.join(_LOOK_S):
        if dispatcher.unfinished != unfinished:
            unfinished, since_s = dispatcher.unfinished, monotonic()
    return dispatcher.unfinished


atexit.register(_finish)
