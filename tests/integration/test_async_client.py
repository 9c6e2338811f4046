"""AsyncClient and futures against a real daemon: many at once, cancelled by the hundred, killed in mid-run."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

import predictd
from tests.client.test_async_client import run
from tests.daemon_process import DaemonProcess

pytestmark = pytest.mark.integration

CALLS = 1000


async def check_answers(client: predictd.AsyncClient, digits: tuple[np.ndarray, np.ndarray], count: int) -> None:
    x, y = digits
    predictions = await asyncio.gather(*(client.predict("mlp", x[n % 200 : n % 200 + 1]) for n in range(count)))
    for n, prediction in enumerate(predictions):
        np.testing.assert_allclose(prediction.outputs[0], y[n % 200], rtol=1e-4, atol=1e-5)


def test_a_thousand_awaits_at_once_while_others_go_on(
    daemon: DaemonProcess, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    ticks: list[int] = []

    async def tick() -> None:
        while True:
            await asyncio.sleep(0)
            ticks.append(1)

    async def main() -> None:
        async with predictd.AsyncClient(daemon.endpoint) as client:
            ticking = asyncio.create_task(tick())
            await check_answers(client, digits, CALLS)
            ticking.cancel()

    run(main())
    assert len(ticks) > 10


def test_a_storm_of_cancels_leaves_the_servers_queue_empty(
    daemon: DaemonProcess, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    x, _ = digits

    async def main() -> None:
        async with predictd.AsyncClient(daemon.endpoint) as client:
            await client.predict("mlp", x)
            for round_ in range(20):
                calls = [asyncio.create_task(client.predict("mlp", x)) for _ in range(100)]
                for _ in range(round_ % 4):
                    await asyncio.sleep(0)
                for call in calls:
                    call.cancel()
                await asyncio.wait(calls)
            await check_answers(client, digits, 100)
            status = await client.status()
            for _ in range(1000):
                if not status.queued_requests:
                    break
                await asyncio.sleep(0.02)
                status = await client.status()
            assert (status.queued_requests, status.queued_rows, status.queued_bytes) == (0, 0, 0)

    run(main())


def test_futures_and_map(daemon: DaemonProcess, digits: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = digits
    with daemon.client() as client:
        got = [prediction.outputs for prediction in client.map("mlp", (x[n : n + 1] for n in range(200)))]
        np.testing.assert_allclose(np.concatenate(got), y, rtol=1e-4, atol=1e-5)
        futures = [client.submit("mlp", x[n : n + 1]) for n in range(200)]
        np.testing.assert_allclose(np.concatenate([f.result().outputs for f in futures]), y, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_daemon_that_is_killed_and_started_again_in_mid_run(
    models: Path, digits: tuple[np.ndarray, np.ndarray], start_daemon
) -> None:
    first = start_daemon(models / "mlp.keras")

    async def main() -> None:
        async with predictd.AsyncClient(first.endpoint, timeout_ms=200_000) as client:
            calls = asyncio.create_task(check_answers(client, digits, CALLS))
            while client._session is None or client._session._exchange.in_flight < 100:
                await asyncio.sleep(0)
            first.kill()
            await asyncio.to_thread(start_daemon, models / "mlp.keras")
            await calls
            await check_answers(client, digits, 100)

    run(main(), bound_s=250)
