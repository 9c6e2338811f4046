"""The last word of a child that is told to end: its cancels have left the process before it does.

Owns the wait for that. A terminated task and a cold shutdown raise `SystemExit` in a child, which then ends by
`os._exit`, and libzmq's thread with it, whatever that has not sent yet. A daemon that hears nothing takes it that the
child was killed, and keeps its work for the task's next run. Runs in the thread that runs the task.
"""

from __future__ import annotations

import time
from contextlib import suppress

import predictd

#: The longest wait; a daemon that is there answers in 1 or 2 ms, one that is not has nothing to cancel.
LAST_WORD_MS = 500.0


def say_last_word(client: predictd.Client) -> None:
    """See to it that what a client cancels when the process is told to end reaches its daemon.

    Nothing is raised: the end goes on, whatever this meets and whichever signal comes meanwhile.
    """
    end_s = time.monotonic() + LAST_WORD_MS / 1000
    with suppress(BaseException):
        # The cancels of futures are the background thread's, also of those that the task has submitted by itself.
        client.give_up(LAST_WORD_MS / 1000)
        # One thread of libzmq's sends for all connections of a process, in order: what comes back from a question that
        # was asked after the cancels shows that these are out. The control socket answers at any time.
        client.status(timeout_ms=(end_s - time.monotonic()) * 1000)
