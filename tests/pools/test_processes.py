"""Threads, greenlets and processes that a script starts by itself, Django's shell and Celery's eager mode."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.pools.driver import required
from tests.pools.program import ScriptProgram, python

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.tensorflow]

SCRIPT = ("-m", "tests.pools.script")


@pytest.mark.parametrize(
    "kind",
    ["threads", "fork", "forkserver", "spawn", "executor", "eager", "to_thread", "submit", "asyncio", "asyncio.run"],
)
def test_script(kind: str, start_program: Callable[..., ScriptProgram], passes: Callable[..., None]) -> None:
    passes(start_program(ScriptProgram, python(*SCRIPT, kind)))


@pytest.mark.parametrize("kind", ["gevent", "eventlet"])
def test_script_patched_late(
    kind: str, start_program: Callable[..., ScriptProgram], passes: Callable[..., None]
) -> None:
    required(kind)
    passes(start_program(ScriptProgram, python(*SCRIPT, kind)))
