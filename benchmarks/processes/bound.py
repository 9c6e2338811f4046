"""Becomes a command that ends with whoever started it: `python -I bound.py PARENT_PID COMMAND...`.

A benchmark that is killed can't end what it has started. Owns asking the kernel to do it (Linux; elsewhere the command
just runs). It keeps its process id, as it becomes the command instead of starting it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

#: linux/prctl.h
_PR_SET_PDEATHSIG = 1


def main(parent: str, *command: str) -> None:
    """Become the command."""
    if sys.platform == "linux":
        # It outlives the exec.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        # Whoever ended before the line above sends no signal any more.
        if os.getppid() != int(parent):
            sys.exit("its parent has ended already")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
