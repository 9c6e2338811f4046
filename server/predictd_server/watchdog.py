"""The watchdog: ends the process when a part of it is dead or stuck, so that the supervisor starts a new one.

Owns the decision and the exit. Main thread. A second guard runs in a C thread of the interpreter and needs no GIL: it
ends the process when even this code no longer gets to run.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
from collections.abc import Callable
from math import inf
from time import monotonic

from predictd_server.engine import Engine
from predictd_server.sockets.control import Control
from predictd_server.sockets.frontend import Frontend

_log = logging.getLogger(__name__)

#: EX_SOFTWARE of sysexits.h.
STUCK_EXIT_CODE = 70

#: Looks are half a second apart. One that comes so much later, or half of `stuck_after_s` where that lies between these
#: two, follows a pause of the whole process (SIGSTOP, a frozen container, a library that loads and holds the GIL).
LEAST_PAUSE_S = 1.0
PAUSE_S = 10.0

#: The second guard is armed anew this often, and fires this long after `stuck_after_s`.
GUARD_S = 10.0


class Watchdog:
    """Looks after the threads.

    Args:
        frontend: Must turn; a run on its thread may take no longer than another.
        engine: Must finish its runs.
        control: Must live.
        stuck_after_s: Longest that a run may take.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        frontend: Frontend,
        engine: Engine,
        control: Control,
        stuck_after_s: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._frontend = frontend
        self._engine = engine
        self._control = control
        self._stuck_after_s = stuck_after_s
        self._pause_s = min(PAUSE_S, max(LEAST_PAUSE_S, stuck_after_s / 2))
        self._clock = clock
        self._guarded_s = -GUARD_S
        self._looked_s = clock()
        self._resumed_s = -inf

    def diagnose(self) -> str | None:
        """Return what is dead or stuck; None when all is well."""
        now = self._clock()
        if now - self._looked_s > self._pause_s:
            # This thread didn't run either: the whole process was stopped, and no part of it is to blame.
            self._resumed_s = now
        self._looked_s = now
        for name, is_alive in (
            ("data pump", self._frontend.is_alive),
            ("engine", self._engine.is_alive),
            ("control", self._control.is_alive),
        ):
            if not is_alive:
                return f"the {name} thread has died"
        busy_since_s, limit = self._engine.busy_since_s, f"stuck_after_s = {self._stuck_after_s:g}"
        if busy_since_s is not None and now - max(busy_since_s, self._resumed_s) > self._stuck_after_s:
            return f"a run has taken {now - busy_since_s:.0f} s; {limit}"
        if now - max(self._frontend.beat_s, self._resumed_s) > self._stuck_after_s:
            return f"the data pump has not turned for {now - self._frontend.beat_s:.0f} s; {limit}"
        return None

    def look(self) -> None:
        """Look once; does not return when something is dead or stuck."""
        self._arm_guard()
        diagnosis = self.diagnose()
        if diagnosis is None:
            return
        _log.critical("%s: ending the process with exit code %d", diagnosis, STUCK_EXIT_CODE)
        faulthandler.dump_traceback(sys.stderr, all_threads=True)
        logging.shutdown()
        os._exit(STUCK_EXIT_CODE)

    def disarm(self) -> None:
        """Stop guarding: an orderly shutdown has its own time limit."""
        faulthandler.cancel_dump_traceback_later()

    def _arm_guard(self) -> None:
        now = self._clock()
        if now - self._guarded_s >= GUARD_S:
            self._guarded_s = now
            faulthandler.dump_traceback_later(self._stuck_after_s + 2 * GUARD_S, exit=True)
