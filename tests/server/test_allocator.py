"""The allocator's setting: made once, and left alone where the environment makes it."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from predictd_server.allocator import limit_arenas

#: glibc's own report of its arenas, after eight threads have each asked for memory at the same time.
COUNT = """
import ctypes, threading
from predictd_server import allocator
allocator.usable_processors = lambda: 4
allocator.limit_arenas(ENVIRON)
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
barrier = threading.Barrier(8)
def ask():
    barrier.wait()
    libc.malloc(100_000)
    barrier.wait()
threads = [threading.Thread(target=ask) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc.malloc_stats()
"""


def arenas(environ: str) -> int:
    ran = subprocess.run(
        [sys.executable, "-c", COUNT.replace("ENVIRON", environ)], capture_output=True, text=True, check=True
    )
    return ran.stderr.count("Arena ")


@pytest.mark.parametrize(("processors", "expected"), [(1, 2), (2, 2), (5, 2), (8, 4), (64, 32)])
def test_there_is_one_for_two_cpus(processors: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    class Library:
        def __init__(self, name: str | None) -> None:
            pass

        def mallopt(self, parameter: int, value: int) -> int:
            asked.append((parameter, value))
            return 1

    monkeypatch.setattr("predictd_server.allocator.usable_processors", lambda: processors)
    monkeypatch.setattr(ctypes, "CDLL", Library)
    assert limit_arenas({})
    assert asked == [(-8, expected)]


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_stats"), reason="not glibc")
def test_threads_share_two_arenas() -> None:
    assert arenas("{}") <= 2 < arenas("{'MALLOC_ARENA_MAX': '8'}")


@pytest.mark.parametrize(
    "environ", [{"MALLOC_ARENA_MAX": "4"}, {"GLIBC_TUNABLES": "glibc.malloc.arena_max=1:glibc.malloc.check=1"}]
)
def test_what_the_environment_says_goes_first(environ: dict[str, str]) -> None:
    assert limit_arenas(environ) is False
