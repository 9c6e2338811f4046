"""Orders as clients give them: what is sent, to whom, and how it is told that one was not carried out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from click.testing import Result

import predictd
from predictd_proto.messages import ErrorResponse, MetadataRequest, StatusResponse
from predictd_proto.orders import LabelRequest, LoadRequest, OrderRequest, ReloadRequest, UnloadRequest
from tests.client.fake_server import FakeServer

Run = Callable[..., Result]


@pytest.fixture
def other(folder: str) -> Iterator[FakeServer]:
    with FakeServer(f"ipc://{folder}/e.sock", server_id="second") as running:
        yield running


@pytest.fixture
def both(server: FakeServer, other: FakeServer) -> Iterator[predictd.Client]:
    with predictd.Client([str(server.endpoint), str(other.endpoint)], timeout_ms=20_000) as made:
        yield made


def orders(server: FakeServer) -> list[Any]:
    return [message for message in server.asked if isinstance(message, OrderRequest)]


def refused(code: str) -> Callable[[OrderRequest], list[Any]]:
    return lambda order: [ErrorResponse(id=order.id, code=code, message="the reason")]


def silent(order: OrderRequest) -> list[Any]:
    del order
    return []


def test_each_order_says_what_it_is_for_and_how_long_its_caller_waits(
    server: FakeServer, client: predictd.Client
) -> None:
    assert client.load("double", 2, timeout_ms=5_000).done == ("LoadRequest at first",)
    client.load("double")
    client.unload("double", 0)
    client.label("double", "stable", 1)
    client.label("double", "stable", None)
    assert {row.name for row in client.reload().models} == {row.name for row in server.models}
    sent = orders(server)
    assert [type(order) for order in sent] == [
        LoadRequest,
        LoadRequest,
        UnloadRequest,
        LabelRequest,
        LabelRequest,
        ReloadRequest,
    ]
    assert [getattr(order, "version", "-") for order in sent] == [2, None, 0, 1, None, "-"]
    assert 0 < sent[0].timeout_ms <= 5_000 < sent[1].timeout_ms <= 600_000


@pytest.mark.parametrize(
    ("method", "arguments", "said"),
    [
        ("load", (3,), "field model"),
        ("load", ("m" * 257,), "field model"),
        ("load", ("m", "stable"), "field version"),
        ("load", ("m", True), "field version"),
        ("load", ("m", -1), "field version"),
        ("unload", ("m", 1.0), "field version"),
        ("label", ("m", None, 1), "field label"),
        ("label", ("m", "s\ud800", 1), "field label"),
        ("label", ("m", "stable", "2"), "field version"),
        ("reload", (b"m",), "field model"),
    ],
)
def test_what_is_no_order_is_refused_before_anybody_is_asked(
    server: FakeServer, client: predictd.Client, method: str, arguments: tuple[Any, ...], said: str
) -> None:
    async def from_a_coroutine() -> None:
        async with predictd.AsyncClient(str(server.endpoint)) as asynchronous:
            await getattr(asynchronous, method)(*arguments)

    with pytest.raises(predictd.ConfigError, match=said):
        getattr(client, method)(*arguments)
    with pytest.raises(predictd.ConfigError, match=said):
        asyncio.run(from_a_coroutine())
    for time_ms in (0, -1, float("nan"), float("inf")):
        with pytest.raises(predictd.ConfigError, match="timeout_ms"):
            client.reload(timeout_ms=time_ms)
    assert server.asked == []


def test_of_several_servers_each_is_told(both: predictd.Client, server: FakeServer, other: FakeServer) -> None:
    result = both.label("double", "stable", 1)
    assert result.done == ("LabelRequest at first", "LabelRequest at second")
    assert [row.name for row in result.models] == ["double", "double"]


def test_where_one_of_several_servers_fails_it_is_told_which_did_it_before(
    both: predictd.Client, server: FakeServer, other: FakeServer
) -> None:
    other.orders = refused("model_load")
    with pytest.raises(predictd.ModelLoadError) as failure:
        both.load("double")
    assert str(failure.value) == (
        f"{other.endpoint}: the reason (done before: {server.endpoint}; those after it were not told)"
    )
    server.orders = refused("version_not_found")
    with pytest.raises(predictd.VersionNotFoundError, match=r"the reason \(done before: none; those after it"):
        both.load("double")
    assert len(orders(other)) == 1


def test_who_stops_waiting_for_an_order_is_told_that_it_may_go_on(server: FakeServer, client: predictd.Client) -> None:
    server.orders = silent
    with pytest.raises(predictd.DeadlineExceededError, match="no answer to a LoadRequest within") as failure:
        client.load("double", timeout_ms=100)
    assert "it goes on" in str(failure.value)
    assert "predictd models" in str(failure.value)
    assert "silent" not in str(failure.value), "a load that takes long is no sign of a stopped server"
    assert len(orders(server)) == 1, "an order was given twice"


def test_an_answer_that_is_none_to_an_order_is_refused(server: FakeServer, client: predictd.Client) -> None:
    server.orders = lambda order: [StatusResponse(id=order.id, status=server.status())]
    with pytest.raises(predictd.RemoteProtocolError, match="expected a OrderResponse, got a StatusResponse"):
        client.reload()


def test_after_an_order_the_models_signatures_are_asked_for_anew(server: FakeServer, client: predictd.Client) -> None:
    def asked() -> int:
        return sum(isinstance(message, MetadataRequest) for message in server.asked)

    rows = np.ones((1, 4), np.float32)
    for _ in range(2):
        client.predict("double", rows)
    assert asked() == 1
    client.load("pair")
    client.predict("double", rows)
    assert asked() == 1
    client.reload()
    client.predict("double", rows)
    assert asked() == 2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["load"], 2, "Missing argument 'MODEL'"),
        (["load", "double", "stable"], 2, "'stable' is not a valid integer"),
        (["unload"], 2, "Missing argument 'MODEL'"),
        (["label", "double", "stable"], 2, "expected a VERSION for the label to point at, or --remove, and not both"),
        (["label", "double", "stable", "1", "--remove"], 2, "or --remove, and not both"),
        (["reload", "--timeout-ms", "0"], 2, "--timeout-ms: expected a number of milliseconds above 0"),
        (["load", "m" * 257], 2, "field model: expected text of at most 256 characters"),
    ],
)
def test_what_is_wrong_with_a_command_is_said_and_nobody_asked(
    server: FakeServer, run: Run, arguments: list[str], code: int, said: str
) -> None:
    ran = run(*arguments)
    assert (ran.exit_code, ran.stdout) == (code, "")
    assert said in ran.stderr
    assert server.asked == []


@pytest.mark.parametrize(("code", "exit_code"), [("model_load", 1), ("version_not_found", 1), ("overloaded", 3)])
def test_an_order_that_is_not_carried_out_ends_the_command_with_the_reason(
    server: FakeServer, run: Run, code: str, exit_code: int
) -> None:
    server.orders = refused(code)
    ran = run("load", "double")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (exit_code, "", "predictd: the reason\n")


def test_commands_print_what_was_done(server: FakeServer, other: FakeServer, run: Run) -> None:
    flags = ["--endpoint", f"{server.endpoint},{other.endpoint}"]
    assert run("reload", *flags).stdout == "ReloadRequest at first\nReloadRequest at second\n"
    told = json.loads(run("unload", "double", "1", "--json").stdout)
    assert told["done"] == ["UnloadRequest at first"]
    assert [row["name"] for row in told["models"]] == ["double"]
    server.orders = silent
    assert run("load", "double", "--timeout-ms", "100").exit_code == 5
