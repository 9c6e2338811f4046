"""An asyncio client that is closed while a map is under way: the map ends, with an error that says why."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

import predictd
from tests.client.fake_server import FakeServer
from tests.client.test_async_client import rows_of, run


@pytest.mark.parametrize("window", [1, 3])
def test_a_map_whose_client_is_closed_in_its_loop_ends(server: FakeServer, endpoint: str, window: int) -> None:
    async def main() -> None:
        client = predictd.AsyncClient(endpoint)
        got: list[float] = []

        async def take_all() -> None:
            async for prediction in client.map("double", map(rows_of, range(6)), window=window):
                got.append(prediction.outputs[0, 0])
                await client.aclose()

        with pytest.raises(predictd.RequestCancelledError, match="the client was closed"):
            await take_all()
        assert got[0] == 0
        assert (await client.predict("double", rows_of(3))).outputs[0, 0] == 6
        await client.aclose()

    run(main())


def test_a_map_whose_client_is_closed_while_it_waits_for_an_input_ends(server: FakeServer, endpoint: str) -> None:
    async def main() -> None:
        go = asyncio.Event()

        async def source() -> AsyncIterator[object]:
            yield rows_of(1)
            await go.wait()
            yield rows_of(2)

        client = predictd.AsyncClient(endpoint)
        answers = client.map("double", source())
        assert (await anext(answers)).outputs[0, 0] == 2
        await client.aclose()
        go.set()
        with pytest.raises(predictd.RequestCancelledError, match="the client was closed"):
            await anext(answers)

    run(main())
