"""Greenlets of gevent and eventlet on one client: nobody stands still, no wake-up is lost, whoever is killed cancels.

The server is a fake one in the test's process; the greenlets live in a program of their own, where the client was made
and used before the patch. Patched threads are greenlets, so one text does for both libraries.
"""

from __future__ import annotations

import ast
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import predictd
from predictd.connections.transport import SLICE_MS
from predictd_proto.messages import CancelRequest, PredictRequest
from tests.client.fake_process import run_program
from tests.client.fake_server import FakeServer, answer, refuse, silent
from tests.conftest import CHECKOUT
from tests.pools.driver import required

pytestmark = pytest.mark.integration

PROLOGUE = """
import pathlib, sys, threading, time
import numpy as np
import predictd
client = predictd.Client(sys.argv[1], timeout_ms=30_000)
rows = np.ones((2, 4), np.float32)
def works(factor=1.0): return bool((client.predict("double", rows * factor).outputs == 2 * factor).all())
assert works()
if sys.argv[2] == "gevent":
    import gevent.monkey
    gevent.monkey.patch_all()
    import gevent
    from gevent import Timeout, spawn
    run_in_real_thread = gevent.get_hub().threadpool.apply
    def kill(greenlet): greenlet.kill()
else:
    import eventlet
    eventlet.monkey_patch()
    import eventlet.tpool
    from eventlet import Timeout, spawn
    run_in_real_thread = eventlet.tpool.execute
    def kill(greenlet): greenlet.kill()
def wait_until_asked():
    while not pathlib.Path(sys.argv[3]).exists(): time.sleep(0.01)
ticks = 0
def tick():
    global ticks
    while True:
        time.sleep(0.005)
        ticks += 1
threading.Thread(target=tick, daemon=True).start()
"""
#: A wake-up that is lost costs a slice: with slices longer than the time-out it costs the answer, and is seen.
LONG_SLICES = "import predictd.connections.transport; predictd.connections.transport.SLICE_MS = 600_000\n"
PATCHED = {"time.sleep", "select.poll", "select.select", "socket.socket", "threading.Lock", "threading.Thread"}


@pytest.fixture
def server(run_directory: Path) -> Iterator[FakeServer]:
    with FakeServer(f"ipc://{run_directory}/p.sock") as running:
        yield running


@pytest.fixture
def asked(run_directory: Path) -> Path:
    """A file that says that the server has got what the program waits to have sent."""
    return run_directory / "asked"


@pytest.fixture(params=["gevent", "eventlet"])
def runs(request: pytest.FixtureRequest, server: FakeServer, asked: Path) -> Any:
    """Run a program in which the one or the other library has patched everything."""
    required(request.param)

    def run(program: str) -> None:
        ran = run_program(f"{PROLOGUE}\n{program}", str(server.endpoint), request.param, str(asked))
        assert ran.returncode == 0, ran.stderr

    return run


def after(seconds: float) -> Any:
    """Return a reply that takes its time."""

    def reply(request: PredictRequest) -> list[Any]:
        time.sleep(seconds)
        return [answer(request)]

    return reply


def usual(request: PredictRequest) -> list[Any]:
    return [answer(request)]


def test_others_run_while_a_connection_from_before_the_patch_waits(runs: Any, server: FakeServer) -> None:
    server.replies = [usual, after(1.0), usual]
    runs("before = ticks; assert works(); assert ticks > before + 10, ticks")


def test_others_run_while_a_new_connection_waits(runs: Any, server: FakeServer) -> None:
    server.replies = [usual, after(1.0), usual]
    runs("client.close(); before = ticks; assert works(); assert ticks > before + 10, ticks")


def test_others_run_in_the_pause_before_a_repetition(runs: Any, server: FakeServer) -> None:
    server.replies = [usual, refuse("overloaded", retry_after_ms=1000), usual]
    runs("before = ticks; assert works(); assert ticks > before + 10, ticks")


def test_others_run_while_a_server_is_waited_for(runs: Any, server: FakeServer) -> None:
    del server
    runs(
        """
nobody = predictd.Client(f"ipc://{pathlib.Path(sys.argv[1][6:]).parent}/nobody.sock", connect_timeout_ms=1000)
before = ticks
try:
    nobody.predict("double", rows)
except predictd.ServerUnavailableError:
    assert ticks > before + 10, ticks
else:
    assert False
before = ticks
try:
    nobody.wait_until_ready(1.0)
except predictd.ServerUnavailableError:
    assert ticks > before + 10, ticks
else:
    assert False
"""
    )


def test_each_of_many_greenlets_gets_its_own_answer_and_no_wake_up_is_lost(runs: Any, server: FakeServer) -> None:
    del server
    runs(
        LONG_SLICES
        + """
wrong = []
def call(factor):
    for _ in range(20):
        if not works(factor): wrong.append(factor)
greenlets = [threading.Thread(target=call, args=(float(n),)) for n in range(50)]
for greenlet in greenlets: greenlet.start()
for greenlet in greenlets: greenlet.join()
assert not wrong and works()
"""
    )


def test_a_connection_goes_from_one_loop_to_another(runs: Any, server: FakeServer) -> None:
    """Real threads have a loop of their own; a connection that one of them gave back is another's next."""
    server.replies = [usual] + [after(0.02)] * 20 + [usual]
    runs(LONG_SLICES + "assert all(run_in_real_thread(works) and works() for _ in range(10))")


SUBMIT = """
def submits():
    futures = [client.submit("double", rows * n) for n in range(100)]
    return all((future.result(20).outputs == 2 * n).all() for n, future in enumerate(futures))
"""


def test_futures_come_while_others_run(runs: Any, server: FakeServer) -> None:
    server.replies = [usual, usual, after(1.0), usual]
    runs(SUBMIT + "before = ticks; assert submits(); assert ticks > before + 10, ticks")


def test_futures_come_from_a_client_that_gave_some_before_the_patch(runs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first, patch = PROLOGUE.split("if sys.argv[2]", 1)
    monkeypatch.setitem(globals(), "PROLOGUE", f"{first}{SUBMIT}assert submits()\nif sys.argv[2]{patch}")
    runs("assert submits() and works(); client.close(); assert submits()")


@pytest.mark.parametrize("runs", ["gevent"], indirect=True)
def test_a_future_in_flight_during_the_patch_is_completed_after_it(
    runs: Any, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not with eventlet: it makes locks that threads of the system hold and wait for into its own."""
    server.replies = [usual, after(2.0), usual]
    first, patch = PROLOGUE.split("if sys.argv[2]", 1)
    early = 'early = client.submit("double", rows)\n'
    monkeypatch.setitem(globals(), "PROLOGUE", f"{first}{early}if sys.argv[2]{patch}")
    runs("assert (early.result(20).outputs == 2).all() and works(); client.close()")


def test_a_time_out_of_the_library_cancels_and_leaves_the_client_usable(runs: Any, server: FakeServer) -> None:
    server.replies = [usual, silent, usual]
    runs(
        """
try:
    with Timeout(3):
        works()
except Timeout:
    pass
else:
    assert False
assert works()
"""
    )
    server.wait_for(CancelRequest)


def test_a_greenlet_that_is_killed_in_a_call_cancels(runs: Any, server: FakeServer, asked: Path) -> None:
    def noted(request: PredictRequest) -> list[Any]:
        asked.touch()
        return silent(request)

    server.replies = [usual, noted, usual]
    runs(
        """
victim = spawn(works)
wait_until_asked()
kill(victim)
assert works()
"""
    )
    server.wait_for(CancelRequest)


def test_a_greenlet_that_is_killed_while_it_connects_leaves_nothing_behind(
    runs: Any, server: FakeServer, asked: Path
) -> None:
    welcome = server.welcome
    greeted: list[object] = []

    def greet(hello: Any) -> Any:
        greeted.append(hello)
        if len(greeted) != 3:
            return welcome(hello)
        asked.touch()
        return None

    server.welcome = greet
    runs(
        """
client.close()
victim = spawn(works)
wait_until_asked()
kill(victim)
assert works()
"""
    )


def test_a_wake_up_that_is_lost_costs_a_slice_and_no_more(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    slept_ms: list[float] = []

    class DeafPoll:
        def register(self, descriptor: int, events: int) -> None: ...

        def poll(self, timeout_ms: float) -> None:
            slept_ms.append(timeout_ms)
            time.sleep(timeout_ms / 1000)

    monkeypatch.setattr("select.poll", DeafPoll)
    server.replies = [usual, after(0.2)]  # an answer that is here at the first look needs no wake-up
    with predictd.Client(str(server.endpoint)) as client:
        client.predict("double", np.ones((1, 4), np.float32))
        slept_ms.clear()
        assert client.predict("double", np.ones((1, 4), np.float32)).outputs.sum() == 8
    assert slept_ms
    assert max(slept_ms) <= SLICE_MS


@pytest.mark.parametrize("path", sorted((CHECKOUT / "client/predictd").rglob("*.py")), ids=lambda path: path.name)
def test_what_libraries_patch_is_looked_up_when_it_is_called(path: Path) -> None:
    """A default argument or a name taken out of its module is what it was at import, before any patch."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            defaults = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
            assert not {ast.unparse(default) for default in defaults} & PATCHED, f"{path.name}:{node.lineno}"
        elif isinstance(node, ast.ImportFrom):
            assert not {f"{node.module}.{alias.name}" for alias in node.names} & PATCHED, f"{path.name}:{node.lineno}"


def test_a_waiting_client_uses_no_processor_time(runs: Any, server: FakeServer) -> None:
    server.replies = [usual, silent]
    runs(
        """
waiting = [spawn(works) for _ in range(20)]
from tests.idle import idle_share
idle_share(patience_s=20)
for greenlet in waiting: kill(greenlet)
"""
    )
