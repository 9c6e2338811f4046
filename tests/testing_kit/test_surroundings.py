"""Fakes work where clients live: coroutines, futures, greenlets, children of a fork."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

import predictd
from predictd.testing import FakeServer
from tests.client.fake_process import run_program
from tests.testing_kit.conftest import ROWS, Serve, doubling

MODEL = "t.FakeModel('double', inputs=('float32', (None, 4)), outputs=('float32', (None, 4)), answer=lambda x: x * 2)"


async def ask_in_many_ways(client: predictd.AsyncClient, server: FakeServer) -> None:
    turns = 0

    async def tick() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    predictions = await asyncio.gather(*[client.predict("double", ROWS + n) for n in range(50)])
    assert [p.outputs[0, 0] for p in predictions] == [2.0 * n for n in range(50)]
    with server.faults.delay(40, times=3):
        before = turns
        await asyncio.gather(*[client.predict("double", ROWS) for _ in range(3)])
        assert turns > before
    with server.faults.drop(times=1), pytest.raises(predictd.DeadlineExceededError):
        await client.predict("double", ROWS, timeout_ms=1_000)
    with server.faults.overload(1, times=2):
        await client.predict("double", ROWS)
    server.faults.die(back_after_ms=20)
    assert (await client.predict("double", ROWS)).receipt.model == "double"
    ticking.cancel()


def test_coroutines(server: FakeServer) -> None:
    async def run() -> None:
        async with predictd.AsyncClient(timeout_ms=60_000) as client:
            await ask_in_many_ways(client, server)

    asyncio.run(run())
    assert len(server.requests) == 50 + 3 + 1 + 3 + 2


def test_a_cancelled_task_is_a_cancelled_request(server: FakeServer) -> None:
    async def run() -> None:
        async with predictd.AsyncClient() as client:
            await client.predict("double", ROWS)
            with server.faults.drop():
                task = asyncio.create_task(client.predict("double", ROWS))
                while len(server.requests) < 2:
                    await asyncio.sleep(0.001)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

    asyncio.run(run())
    server.wait_until(lambda: server.requests[1].is_cancelled)


def test_futures(server: FakeServer, client: predictd.Client) -> None:
    futures = [client.submit("double", ROWS + n) for n in range(30)]
    assert [future.result(60).outputs[0, 0] for future in futures] == [2.0 * n for n in range(30)]
    assert [p.outputs[0, 0] for p in client.map("double", [ROWS + n for n in range(30)])] == [
        2.0 * n for n in range(30)
    ]
    server.wait_for_requests(60)


def test_futures_across_fakes(serve: Serve) -> None:
    with predictd.Client(timeout_ms=60_000) as client:
        for turn in range(6):
            with serve(doubling(answer=lambda x, turn=turn: x + turn)):
                assert client.submit("double", ROWS).result(60).outputs[0, 0] == turn


GREENLETS = """
import threading, numpy, predictd, predictd.testing as t
TICKS = 0
def tick():
    global TICKS
    while TICKS >= 0: TICKS += 1; pause(0.001)
with t.{way}({model}) as server:
    model, client = predictd.RemoteModel('double'), predictd.Client(retries=None)
    threading.Thread(target=tick, daemon=True).start()
    results = []
    def ask(n):
        x = numpy.full((2, 4), n, 'float32')
        for _ in range(10): results.append(client.predict('double', x).outputs[0, 0] == 2 * n)
    threads = [threading.Thread(target=ask, args=(n,)) for n in range(20)]
    with server.faults.delay(5, times=50):
        for thread in threads: thread.start()
        for thread in threads: thread.join(60)
    assert results == [True] * 200, results
    assert TICKS > 3, TICKS
    with server.faults.drop(times=1):
        try: client.predict('double', numpy.ones((2, 4), 'float32'), timeout_ms=1000)
        except predictd.DeadlineExceededError: pass
    with server.faults.die():
        try: client.predict('double', numpy.ones((2, 4), 'float32'))
        except predictd.ServerLostError: pass
    model.predict(numpy.ones((1000, 4)))
    assert len(server.wait_for_requests(218)) == 218
TICKS = -10
with t.{way}({model}) as server:
    model.predict(numpy.ones((2, 4)))
print('well')
"""


@pytest.mark.integration
@pytest.mark.parametrize("way", ["fake_server", "in_process"])
@pytest.mark.parametrize("loop", ["gevent", "eventlet"])
def test_greenlets(loop: str, way: str) -> None:
    pytest.importorskip(loop)
    patch = {
        "gevent": "from gevent import monkey; monkey.patch_all()\nfrom gevent import sleep as pause",
        "eventlet": "import warnings; warnings.simplefilter('ignore')\nimport eventlet; eventlet.monkey_patch()\n"
        "from eventlet import sleep as pause",
    }[loop]
    ran = run_program(f"{patch}\n{GREENLETS.format(way=way, model=MODEL)}", timeout_s=100)
    assert (ran.returncode, ran.stdout) == (0, "well\n"), ran.stderr


@pytest.mark.integration
@pytest.mark.parametrize("way", ["fake_server", "in_process"])
def test_children_of_a_fork_ask_the_same_fake(way: str) -> None:
    seen = {"fake_server": 12, "in_process": 2}[way]
    program = f"""
import os, numpy, predictd, threading, predictd.testing as t
x = numpy.ones((2, 4), 'float32')
with t.{way}({MODEL}) as server:
    client = predictd.Client(retries=None)
    client.predict('double', x)
    children = []
    for _ in range(5):
        pid = os.fork()
        if not pid:
            right = [client.predict('double', x).outputs.sum() == 16 for _ in range(2)]
            if '{way}' == 'in_process': right.append(len(server.requests) == 3)
            os._exit(0 if all(right) else 1)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 5
    client.predict('double', x)
    assert len(server.wait_for_requests({seen})) == {seen}
print('well')
"""
    ran = run_program(program)
    assert (ran.returncode, ran.stdout) == (0, "well\n"), ran.stderr


@pytest.mark.integration
def test_no_thread_and_no_socket_in_process() -> None:
    program = f"""
import os, threading, numpy, predictd, predictd.testing as t
def opened():
    links = [f'/proc/self/fd/{{n}}' for n in os.listdir('/proc/self/fd')]
    return len(os.listdir('/proc/self/task')), {{os.readlink(p) for p in links if os.path.exists(p)}}
with t.in_process():
    pass
before = opened()
with t.in_process({MODEL}) as server:
    predictd.RemoteModel('double').predict(numpy.ones((500, 4)))
    with predictd.Client() as client: client.status()
    assert opened() == before, (before, opened())
print('well')
"""
    ran = run_program(program)
    assert (ran.returncode, ran.stdout) == (0, "well\n"), ran.stderr


def test_signals_do_not_disturb_the_fake(server: FakeServer, client: predictd.Client) -> None:
    import signal

    struck = []
    before = signal.signal(signal.SIGALRM, lambda *_: struck.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
    try:
        with server.faults.delay(3):
            for _ in range(30):
                assert client.predict("double", np.ones((2, 4), "float32")).outputs.sum() == 16
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert struck
