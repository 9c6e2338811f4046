"""Which event loops an `AsyncClient` works on: one at a time, any that watches descriptors."""

from __future__ import annotations

import asyncio

import pytest

import predictd
from tests.client.fake_server import FakeServer
from tests.client.test_async_client import ROWS, run


def test_one_client_serves_one_loop_after_another(server: FakeServer, endpoint: str) -> None:
    client = predictd.AsyncClient(endpoint)

    async def main() -> float:
        return float((await client.predict("double", ROWS)).outputs.sum())

    assert [run(main()) for _ in range(3)] == [16, 16, 16]
    loop = asyncio.new_event_loop()  # one that stops, and is used no more, but isn't closed
    assert loop.run_until_complete(main()) == 16
    assert run(main()) == 16
    loop.close()
    run(client.aclose())


def test_two_running_loops_at_once_are_refused(server: FakeServer, endpoint: str) -> None:
    async def main() -> None:
        async with predictd.AsyncClient(endpoint) as client:
            await client.predict("double", ROWS)
            with pytest.raises(predictd.ConfigError, match="in use by another event loop"):
                await asyncio.to_thread(asyncio.run, client.predict("double", ROWS))
            assert (await client.predict("double", ROWS)).outputs.sum() == 16

    run(main())


def test_a_loop_that_watches_no_descriptors_is_refused(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(type(loop), "add_reader", asyncio.AbstractEventLoop.add_reader)
        with pytest.raises(predictd.ConfigError, match="can't watch file descriptors"):
            await predictd.AsyncClient(endpoint).predict("double", ROWS)
        monkeypatch.undo()

    run(main())


def test_outside_a_loop_there_is_no_call() -> None:
    call = predictd.AsyncClient().predict("double", ROWS)
    with pytest.raises(RuntimeError, match="no running event loop"):
        call.send(None)
