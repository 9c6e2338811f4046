"""`Client.submit` and `map` where threads are greenlets: the dispatcher waits as they do, and lets others run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.fake_process import run_program
from tests.client.fake_server import FakeServer
from tests.client.test_processes import PROLOGUE
from tests.pools.driver import required

pytestmark = pytest.mark.integration

GREEN = """
import time
ticks = []
def tick():
    while True:
        sleep(0.001)
        ticks.append(1)
def main():
    spawn(tick)
    time.sleep(0.01)
    before = len(ticks)
    futures = [client.submit("double", rows * n) for n in range(500)]
    assert [f.result().outputs.sum() for f in futures] == [16 * n for n in range(500)]
    assert len(ticks) > before, "nobody else ran"
    assert sum(1 for _ in client.map("double", [rows] * 100)) == 100
    cancelled = client.submit("double", rows)
    cancelled.cancel()
    client.close()
    assert client.submit("double", rows).result().outputs.sum() == 16
main()
"""


@pytest.fixture
def endpoint(run_directory: Path) -> Iterator[str]:
    with FakeServer(f"ipc://{run_directory}/d.sock") as server:
        yield str(server.endpoint)


@pytest.mark.parametrize("kind", ["gevent", "eventlet"])
@pytest.mark.parametrize("is_made_before", [True, False], ids=["made before the patch", "made after it"])
def test_under_patched_threads_the_dispatcher_is_a_greenlet(endpoint: str, kind: str, is_made_before: bool) -> None:
    required(kind)
    patch = {
        "gevent": "import gevent.monkey; gevent.monkey.patch_all(); from gevent import spawn, sleep",
        "eventlet": "import eventlet; eventlet.monkey_patch(); from eventlet import spawn, sleep",
    }[kind]
    program = f"{PROLOGUE}\n{patch}\n{GREEN}" if is_made_before else f"{patch}\n{PROLOGUE}\n{GREEN}"
    ran = run_program(f"import warnings; warnings.simplefilter('ignore')\n{program}", endpoint)
    assert ran.returncode == 0, ran.stderr
