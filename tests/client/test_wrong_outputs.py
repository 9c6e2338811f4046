"""Answers that the signature forbids are refused, whoever asks; those that it allows are not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from predictd import AsyncClient, Client, RemoteModel, RemoteProtocolError
from predictd.testing import FakeModel, fake_server, in_process

ROW = np.ones((1, 4), np.float32)


async def awaited(endpoint: str, rows: Any) -> Any:
    async with AsyncClient(endpoint) as client:
        return await client.predict("digits", rows)


def submitted(endpoint: str, rows: Any) -> Any:
    with Client(endpoint) as client:
        return client.submit("digits", rows).result()


ASK: list[Callable[[str, Any], Any]] = [
    lambda endpoint, rows: Client(endpoint).predict("digits", rows),
    submitted,
    lambda endpoint, rows: RemoteModel("digits", endpoint=endpoint).predict_on_batch(rows),
    lambda endpoint, rows: RemoteModel("digits", endpoint=endpoint).predict(rows, verbose=0),
    lambda endpoint, rows: RemoteModel("digits", endpoint=endpoint).predict(rows, batch_size=1),
    lambda endpoint, rows: asyncio.run(awaited(endpoint, rows)),
]


def model(**options: Any) -> FakeModel:
    options = {"outputs": {"scores": ("float32", (None, 10))}, **options}
    return FakeModel("digits", inputs={"pixels": ("float32", (None, 4))}, **options)


@pytest.mark.parametrize("ask", ASK)
def test_a_row_too_many_is_refused(ask: Callable[[str, Any], Any]) -> None:
    said = (
        r"model 'digits' version 1, output 'scores': 1 row was sent, the server answered 2 \(float32\[2, 10\]\); "
        r"expected float32\[1, 10\]"
    )
    with fake_server(model()) as server:
        ask(server.endpoint, ROW)
        with server.faults.wrong_shape():
            for _ in range(2):  # the second time it is of a known kind
                with pytest.raises(RemoteProtocolError, match=said):
                    ask(server.endpoint, ROW)
        ask(server.endpoint, ROW)
        ask(server.endpoint, ROW.repeat(2, axis=0))
        with pytest.raises(RemoteProtocolError, match="1 row was sent"), server.faults.wrong_shape():
            ask(server.endpoint, ROW)


@pytest.mark.parametrize("ask", ASK)
def test_another_dtype_is_refused(ask: Callable[[str, Any], Any]) -> None:
    said = r"output 'scores': the server answered float64\[1, 10\]; expected float32\[1, 10\]"
    with fake_server(model()) as server, server.faults.wrong_dtype("float64"):
        for _ in range(2):
            with pytest.raises(RemoteProtocolError, match=said):
                ask(server.endpoint, ROW)


def test_rows_are_not_counted_where_the_server_merges_none() -> None:
    with in_process(model(batch_sizes=())) as server, Client() as client:
        with server.faults.wrong_shape():
            assert client.predict("digits", ROW).outputs.shape == (2, 10)
        assert client.predict("digits", ROW).outputs.shape == (1, 10)


def test_an_output_without_rows_is_as_declared() -> None:
    with in_process(model(outputs={"sum": ("float32", (10,))}, answer=np.ones(10, np.float32))), Client() as client:
        assert client.predict("digits", ROW.repeat(3, axis=0)).outputs.shape == (10,)
