"""The asyncio client's map: ordered, lazy, bounded, and cancelled when it is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest

import predictd
from predictd_proto.messages import CancelRequest, PredictRequest
from tests.client.fake_server import FakeServer, answer, silent
from tests.client.test_async_client import rows_of, run, until


def test_answers_come_in_order_and_inputs_are_taken_as_there_is_room(server: FakeServer, endpoint: str) -> None:
    taken: list[int] = []

    def endless() -> Iterator[np.ndarray]:
        while True:
            taken.append(len(taken))
            yield rows_of(taken[-1])

    async def main() -> None:
        async with predictd.AsyncClient(endpoint) as client:
            got = 0
            answers = client.map("double", endless(), window=8)
            async for prediction in answers:
                assert prediction.outputs[0, 0] == 2 * got
                got += 1
                assert len(taken) <= got + 8
                if got == 100:
                    break
            await answers.aclose()

    run(main())


def test_a_slow_source_does_not_hold_back_the_answers(server: FakeServer, endpoint: str) -> None:
    async def main() -> None:
        more = asyncio.Event()
        closed: list[bool] = []

        async def slow() -> AsyncIterator[np.ndarray]:
            try:
                for n in range(3):
                    yield rows_of(n)
                    await more.wait()
                    more.clear()
            finally:
                closed.append(True)

        async with predictd.AsyncClient(endpoint) as client:
            got: list[float] = []
            async for prediction in client.map("double", slow(), window=8):
                got.append(prediction.outputs[0, 0])
                more.set()  # the next input comes only after this answer was seen
            assert got == [0, 2, 4]
            assert closed

    run(main())


def test_leaving_cancels_what_is_in_flight_and_waits_for_no_input(server: FakeServer, endpoint: str) -> None:
    # Only the rows of zeros, whichever of the three comes first.
    server.replies = [lambda request: silent(request) if any(bytes(request.tensors[0].data)) else [answer(request)]]

    async def main() -> None:
        async def source() -> AsyncIterator[np.ndarray]:
            for n in range(3):
                yield rows_of(n)
            await asyncio.Event().wait()

        async with predictd.AsyncClient(endpoint) as client:
            before = asyncio.all_tasks()
            answers = client.map("double", source(), window=8)
            assert (await anext(answers)).outputs[0, 0] == 0
            following = asyncio.ensure_future(_next(answers))
            await asyncio.sleep(0)  # cancelled before it began, it would not have touched the answers
            await until(lambda: len(server.of(PredictRequest)) == 3)
            following.cancel()
            with pytest.raises(asyncio.CancelledError):
                await following
            await until(lambda: len(server.of(CancelRequest)) == 2)
            assert asyncio.all_tasks() == before

    run(main())


async def _next(answers: Any) -> Any:
    return await anext(answers)


@pytest.mark.parametrize("kind", ["inputs", "source"])
def test_an_error_comes_in_its_place_and_ends_the_rest(server: FakeServer, endpoint: str, kind: str) -> None:
    def source() -> Iterator[np.ndarray]:
        yield rows_of(0)
        yield rows_of(1)
        if kind == "source":
            raise ZeroDivisionError
        yield np.ones((1, 5), np.float32)
        yield rows_of(3)

    async def main() -> None:
        got: list[float] = []

        async def take_all() -> None:
            async for prediction in client.map("double", source(), window=2):
                got.append(prediction.outputs[0, 0])

        async with predictd.AsyncClient(endpoint) as client:
            with pytest.raises(ZeroDivisionError if kind == "source" else predictd.TensorMismatchError):
                await take_all()
            assert got == ([0, 2] if kind == "inputs" else got)
            assert client._session is not None
            assert client._session._exchange.is_idle

    run(main())


def test_an_empty_source_and_a_wrong_window(server: FakeServer, endpoint: str) -> None:
    async def main() -> None:
        async with predictd.AsyncClient(endpoint) as client:
            assert [p async for p in client.map("double", [])] == []
            with pytest.raises(predictd.ConfigError, match="window: expected a whole number"):
                await anext(client.map("double", [], window=0))

    run(main())
