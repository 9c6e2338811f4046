"""AsyncClient and futures when servers die, stop and come back, when there is nothing to do, and across processes."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

import predictd
from tests.client.fake_process import FakeProcess, run_program
from tests.client.fake_server import FakeServer, silent
from tests.client.test_async_client import rows_of, run
from tests.client.test_processes import PROLOGUE
from tests.idle import idle_share

ROWS = np.ones((2, 4), np.float32)
BOUND_MS = 60_000.0


async def answered(client: predictd.AsyncClient, count: int) -> list[float]:
    predictions = await asyncio.gather(*(client.predict("double", rows_of(n)) for n in range(count)))
    return [float(prediction.outputs[0, 0]) / 2 for prediction in predictions]


@pytest.mark.integration
def test_a_server_that_is_killed_and_started_again_in_mid_run(endpoint: str) -> None:
    async def main() -> None:
        with FakeProcess(endpoint) as first:
            async with predictd.AsyncClient(endpoint, timeout_ms=BOUND_MS) as client:
                calls = [asyncio.create_task(answered(client, 40)) for _ in range(5)]
                while not any(call.done() for call in calls):
                    await asyncio.sleep(0.001)
                    if client._session is not None and client._session._exchange.in_flight:
                        break
                first.kill()
                with await asyncio.to_thread(FakeProcess, endpoint):
                    assert await asyncio.gather(*calls) == [list(range(40))] * 5
                    assert await answered(client, 100) == list(range(100))

    run(main())


@pytest.mark.integration
def test_futures_survive_a_server_that_is_killed_and_started_again(endpoint: str) -> None:
    with FakeProcess(endpoint) as first, predictd.Client(endpoint, timeout_ms=BOUND_MS) as client:
        client.submit("double", ROWS).result()
        futures = [client.submit("double", rows_of(n)) for n in range(100)]
        first.kill()
        with FakeProcess(endpoint):
            futures += [client.submit("double", rows_of(n)) for n in range(100, 200)]
            assert [future.result().outputs[0, 0] for future in futures] == [2.0 * n for n in range(200)]


@pytest.mark.integration
def test_a_server_that_stops_and_goes_on(endpoint: str) -> None:
    async def main() -> None:
        with FakeProcess(endpoint) as server:
            async with predictd.AsyncClient(endpoint, timeout_ms=BOUND_MS, connect_timeout_ms=500) as client:
                await client.predict("double", ROWS)
                server.stop()
                calls = (client.predict("double", ROWS, timeout_ms=100) for _ in range(300))
                errors = await asyncio.gather(*calls, return_exceptions=True)
                kinds = (predictd.DeadlineExceededError, predictd.ServerUnavailableError)
                assert all(isinstance(error, kinds) for error in errors)
                waiting = asyncio.create_task(client.predict("double", ROWS))
                await asyncio.sleep(0)
                server.resume()
                assert (await waiting).outputs.sum() == 16
                assert await answered(client, 100) == list(range(100))

    run(main())


@pytest.mark.integration
def test_a_server_that_is_lost_for_good_is_told_by_the_deadline(endpoint: str) -> None:
    async def main() -> None:
        with FakeProcess(endpoint, "--silent") as server:
            async with predictd.AsyncClient(endpoint, timeout_ms=2000) as client:
                call = asyncio.create_task(client.predict("double", ROWS))
                await asyncio.to_thread(server.wait_for, "predict")
                server.kill()
                with pytest.raises(predictd.ServerLostError, match="given up after"):
                    await call

    run(main())


@pytest.mark.parametrize("is_waiting", [False, True], ids=["idle", "waiting"])
def test_a_loop_that_waits_uses_no_processor_time(server: FakeServer, endpoint: str, is_waiting: bool) -> None:
    async def main() -> None:
        async with predictd.AsyncClient(endpoint, timeout_ms=BOUND_MS) as client:
            await answered(client, 200)
            server.replies = [silent]
            calls = [asyncio.create_task(client.predict("double", ROWS)) for _ in range(100 * is_waiting)]
            await asyncio.to_thread(idle_share)
            assert not any(call.done() for call in calls)
            for call in calls:
                call.cancel()
            await asyncio.wait([*calls, asyncio.create_task(asyncio.sleep(0))])

    run(main())


def test_a_dispatcher_that_waits_uses_no_processor_time(server: FakeServer, endpoint: str) -> None:
    with predictd.Client(endpoint) as client:
        list(client.map("double", [ROWS] * 100))
        idle_share()


CLIENT = """
import asyncio
client = predictd.AsyncClient(endpoint, timeout_ms=20_000)
async def calls():
    got = await asyncio.gather(*(client.predict("double", rows * n) for n in range(20)))
    return [p.outputs.sum() for p in got] == [16 * n for n in range(20)]
def works(): return asyncio.run(calls())
"""


@pytest.mark.parametrize(
    "program",
    [
        "assert works() and in_child(works) == 0 and works()",
        "assert in_child(works) == 0 and in_child(works) == 0 and works()",
        "assert works() and in_child(lambda: works() and in_child(works) == 0 and works()) == 0 and works()",
        """
assert works()
# Without Python's own hooks, a lock that another thread holds while it ends stays locked in the child.
import time
while threading.active_count() > 1: time.sleep(0.01)
assert in_child(works, fork=ctypes.PyDLL(None).fork) == 0 and works()
""",
        """
async def fork_beside_a_call():
    waiting = asyncio.create_task(calls())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    code = in_child(works)
    return code == 0 and await waiting and await calls()
assert asyncio.run(fork_beside_a_call())
""",
        "assert works()\ndel client\ngc.collect()",
    ],
    ids=["used before", "used after", "grandchild", "fork in C", "fork in a running loop", "dropped"],
)
def test_a_client_used_before_a_fork_goes_on_in_parent_and_child(
    server: FakeServer, endpoint: str, program: str
) -> None:
    ran = run_program(f"{PROLOGUE}\n{CLIENT}\n{program}", endpoint)
    assert ran.returncode == 0, ran.stderr
    assert "Error" not in ran.stderr
    assert "ResourceWarning" not in ran.stderr
