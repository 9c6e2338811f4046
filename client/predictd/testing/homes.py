"""Where fakes of this process listen: one endpoint, the same for every test, in a private directory.

Owns that directory and the environment's `PREDICTD_ENDPOINT` while a fake is there. Main thread, as a rule.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from predictd.process import Process, this_process
from predictd_proto.endpoints import CONTROL_SUFFIX, ENDPOINT_VARIABLE, MAX_IPC_PATH_BYTES

#: The name of a socket in the directory, with room for a number.
_LONGEST_NAME = "/00000000.sock" + CONTROL_SUFFIX

_directories: dict[Process, str] = {}
_numbers = count(1)


def default_test_endpoint() -> str:
    """Return where this process's fakes listen unless told otherwise.

    It is the same for every fake, so that a client or model of a module, which looks for its endpoint once, finds each
    test's fake.
    """
    return f"ipc://{_directory()}/d.sock"


def new_endpoint() -> str:
    """Return an endpoint at which no fake of this process has listened, for several of them at once.

    Examples:
        >>> new_endpoint() != new_endpoint()
        True
    """
    return f"ipc://{_directory()}/{next(_numbers)}.sock"


@contextmanager
def announced(endpoint: str) -> Iterator[None]:
    """Have clients of this process, and of those that it starts, look for their server at an endpoint."""
    before = os.environ.get(ENDPOINT_VARIABLE)
    os.environ[ENDPOINT_VARIABLE] = endpoint
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(ENDPOINT_VARIABLE, None)
        else:
            os.environ[ENDPOINT_VARIABLE] = before


def _directory() -> str:
    process = this_process()
    found = _directories.get(process)
    if found is None:
        where = tempfile.gettempdir()
        if len(os.fsencode(where)) + len("/predictd-00000000" + _LONGEST_NAME) > MAX_IPC_PATH_BYTES:
            where = "/tmp"  # a socket's path is short, wherever a test runner keeps its files
        found = _directories[process] = tempfile.mkdtemp(prefix="predictd-", dir=where)
        atexit.register(_remove, found, process)
    return found


def _remove(directory: str, process: Process) -> None:
    # A child inherits its parent's hooks, not its directory.
    if process is this_process():
        shutil.rmtree(directory, ignore_errors=True)
