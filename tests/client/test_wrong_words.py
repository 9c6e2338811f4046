"""Arguments of the wrong kind are told by the name that the caller knows them by, before anybody is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from predictd import AsyncClient, Client, RemoteModel, Retries
from predictd_proto.errors import ConfigError

NOWHERE = "ipc:///nowhere/p.sock"
#: For what a type checker would refuse.
AnyClient: Any = Client
AnyAsync: Any = AsyncClient
AnyModel: Any = RemoteModel
AnyRetries: Any = Retries

ROWS = [[1.0, 2.0, 3.0, 4.0]]

BLOCKING: list[Callable[[Client, Any], Any]] = [
    lambda client, model: client.predict(model, ROWS),
    lambda client, model: client.submit(model, ROWS),
    lambda client, model: list(client.map(model, [ROWS])),
    lambda client, model: client.metadata(model),
    lambda client, model: RemoteModel(model, client=client),
]


async def answers_of(client: AsyncClient, model: Any) -> list[Any]:
    return [answer async for answer in client.map(model, [ROWS])]


AWAITED: list[Callable[[AsyncClient, Any], Any]] = [
    lambda client, model: client.predict(model, ROWS),
    lambda client, model: client.metadata(model),
    answers_of,
]


@pytest.mark.parametrize("model", [["m"], None, 7, b"m", {}, ""])
@pytest.mark.parametrize("ask", BLOCKING)
def test_a_model_is_a_text(ask: Callable[[Client, Any], Any], model: Any) -> None:
    with (
        Client(NOWHERE) as client,
        pytest.raises(ConfigError, match="model: expected a name such as 'digits', got") as caught,
    ):
        ask(client, model)
    assert repr(model) in str(caught.value)


@pytest.mark.parametrize("model", [["m"], None])
@pytest.mark.parametrize("ask", AWAITED)
def test_a_model_is_a_text_for_those_who_await(ask: Callable[[AsyncClient, Any], Any], model: Any) -> None:
    async def run() -> None:
        async with AsyncClient(NOWHERE) as client:
            await ask(client, model)

    with pytest.raises(ConfigError, match="model: expected a name such as 'digits', got"):
        asyncio.run(run())


def test_so_are_a_signature_and_a_label() -> None:
    words: Any
    for words, said in [
        ({"version": [1]}, r"version: expected a whole number, a text or None, got \[1\]"),
        ({"version": 1.5}, r"version: expected a whole number, a text or None, got 1\.5"),
        ({"signature": {}}, r"signature: expected a text or None, got \{\}"),
    ]:
        with Client(NOWHERE) as client, pytest.raises(ConfigError, match=said):
            client.predict("m", ROWS, **words)
        with pytest.raises(ConfigError, match=said):
            RemoteModel("m", endpoint=NOWHERE, **words)


class Name(str):
    """A text of a kind of its own, as the members of some enums are."""

    __slots__ = ()


def test_a_text_may_be_of_a_kind_of_its_own() -> None:
    assert "'m'" in repr(RemoteModel(Name("m"), endpoint=NOWHERE))


@pytest.mark.parametrize("timeout_s", [-1, 0, float("nan"), "1", None, 1e9])
def test_seconds_are_told_as_seconds(timeout_s: Any) -> None:
    said = rf"timeout_s: expected a number of seconds above 0 and up to 2678400, got {timeout_s!r}"
    with Client(NOWHERE) as client, pytest.raises(ConfigError, match=said.replace("+", r"\+")):
        client.wait_until_ready(timeout_s)

    async def run() -> None:
        async with AsyncClient(NOWHERE) as client:
            await client.wait_until_ready(timeout_s)

    with pytest.raises(ConfigError, match=said.replace("+", r"\+")):
        asyncio.run(run())


@pytest.mark.parametrize("model", [np.ones((2, 4), np.float32), ROWS])
@pytest.mark.parametrize("ask", BLOCKING)
def test_the_order_of_arguments_is_told(ask: Callable[[Client, Any], Any], model: Any) -> None:
    with Client(NOWHERE) as client, pytest.raises(ConfigError, match=r"the order is predict\(model, inputs\)$"):
        ask(client, model)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: AnyClient(retries=3), r"retries: expected .* got 3; write retries=Retries\(resends=3\)"),
        (lambda: AnyAsync(retries=0), "retries: expected .* got 0; write retries=None"),
        (lambda: AnyClient(retries="a"), "retries: expected a predictd.Retries or None, got 'a'"),
        (lambda: AnyRetries(resends="a"), "resends: expected a whole number of at least 0, got 'a'"),
        (lambda: Retries(resends=-1), "resends: .* got -1"),
        (lambda: Retries(first_pause_ms=float("nan")), "first_pause_ms: .* got nan"),
        (lambda: AnyRetries(most_pause_ms=None), "most_pause_ms: .* got None"),
        (lambda: AnyModel("m", client=AsyncClient()), "client: expected a predictd.Client, got an AsyncClient"),
        (lambda: AnyModel("m", client=NOWHERE), f"client: .*; write endpoint='{NOWHERE}'"),
        (lambda: AnyModel(""), "model: expected a name such as 'digits', got ''"),
        (lambda: AnyClient(NOWHERE).predict("m", ROWS, cast="yes"), "cast: expected True or False, got 'yes'"),
        (lambda: AnyClient(NOWHERE).submit("m", ROWS, cast=1), "cast: expected True or False, got 1"),
    ],
)
def test_nonsense_is_refused_at_once(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make()
