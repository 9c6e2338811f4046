"""A background thread that either runs or, known for sure, does not.

Owns the doubt: the system may have no thread to give, and a signal's exception may come out of `start` before the
thread runs or after. What hangs on the thread must be taken back in the first case and left alone in the second. The
starting thread; `run` on its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from predictd_proto.errors import TransportError

#: What `start` raises when it could not.
NO_THREAD = (RuntimeError, MemoryError)


class BackgroundThread(threading.Thread):
    """A daemon thread, which a program's end never waits for.

    Args:
        work: What it does.
        name: Its name.
    """

    def __init__(self, work: Callable[[], object], name: str) -> None:
        super().__init__(target=work, name=name, daemon=True)
        # Who takes the one permit out decides; taking it is atomic.
        self._permit = [True]

    def run(self) -> None:
        """Do the work, unless it was called off."""
        if self._takes_permit():
            super().run()

    def call_off(self) -> bool:
        """After `start` has raised: return True where the work isn't done and never will be, False where it runs."""
        return self._takes_permit()

    def _takes_permit(self) -> bool:
        try:
            self._permit.pop()
        except IndexError:
            return False
        return True


def is_exit(error: BaseException) -> bool:
    """Whether there is no thread because the interpreter is ending: from then on it starts none."""
    return isinstance(error, RuntimeError) and "shutdown" in str(error)


def no_thread(error: BaseException) -> TransportError:
    """Return the error for a caller whose request needs a thread that could not be started."""
    text = (
        f"can't start a thread: {str(error) or type(error).__name__}. This process or its user has as many as the "
        "system allows, or no memory for one: look at `ulimit -u`, the container's limit of processes and its memory, "
        "and at which code of this process keeps starting threads"
    )
    made = TransportError(text)
    made.__cause__ = error
    return made
