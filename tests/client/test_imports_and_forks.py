"""A fork and the modules that other threads import: none is left half imported, and locked, to the child."""

from __future__ import annotations

import types
from typing import Any

import pytest

from predictd import process
from tests.client.fake_process import run_program

FORK_AS_AN_IMPORT_BEGINS = """
import os, signal, sys, threading

begun, forked = threading.Event(), threading.Event()

class SlowFinder:
    def find_spec(self, name, path, target=None):
        if name == "predictd.connections.probe" and threading.current_thread() is not threading.main_thread():
            begun.set()
            forked.wait(30)

def ask():
    try:
        predictd.Client("tcp://127.0.0.1:1", connect_timeout_ms=300).status()
    except predictd.ServerUnavailableError:
        return True

def begin_import():
    global other
    if threading.current_thread() is threading.main_thread():
        other = threading.Thread(target=ask)
        other.start()
        begun.wait(1)  # in vain where the import waits for the fork

# The hook that is registered first runs last: all of ours have been by then.
os.register_at_fork(before=begin_import)
import predictd
sys.meta_path.insert(0, SlowFinder())
pid = os.fork()
if pid == 0:
    signal.alarm(60)
    os._exit(0 if ask() else 1)
forked.set()
other.join()
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, "the child hung or failed"
"""


def test_modules_that_come_while_they_are_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    modules: dict[str, Any] = {}

    class Name(str):
        """A module's name whose neighbour is imported the moment that it is looked at."""

        __slots__ = ()

        def startswith(self, *arguments: Any) -> bool:
            modules[f"neighbour of {self}"] = None
            return super().startswith(*arguments)

    modules.update({Name(name): types.ModuleType(name) for name in ("json", "predictd_x", "zmq")})
    monkeypatch.setattr(process, "sys", types.SimpleNamespace(modules=modules))
    process._finish_imports()
    assert len(modules) == 6


def test_no_import_begins_while_a_fork_is_under_way() -> None:
    ran = run_program(FORK_AS_AN_IMPORT_BEGINS, timeout_s=120)
    assert ran.returncode == 0, ran.stderr[-2000:]
