"""Futures when something comes at a bad moment: a fork, a signal, a lost wake-up, a callback that means to exit."""

from __future__ import annotations

import concurrent.futures
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import predictd
from predictd.in_flight import dispatcher as dispatchers
from predictd.in_flight.places import Places
from predictd_proto.messages import CancelRequest, PredictRequest
from tests.client.fake_process import run_program
from tests.client.fake_server import FakeServer, answer, silent
from tests.client.test_processes import PROLOGUE
from tests.waiting import wait_until

ROWS = np.ones((2, 4), np.float32)
BOUND_S = 60.0


class Signalled(Exception):  # noqa: N818  (no error of ours)
    """What a signal's handler raises."""


@pytest.fixture
def client(endpoint: str) -> Iterator[predictd.Client]:
    with predictd.Client(endpoint, timeout_ms=20_000, max_in_flight=1) as made:
        yield made


def works(client: predictd.Client) -> bool:
    return bool(client.submit("double", ROWS).result().outputs.sum() == 16)


CHILD = """
import concurrent.futures, signal
def over(call):
    try:
        call()
    except predictd.TransportError as error:
        return "another process" in str(error)
    return False
def child():
    signal.alarm(60)  # ends it, should it be blocked
    called = []
    future.add_done_callback(called.append)
    assert repr(future) and called == [future] and parents == []
    assert future.done() and not future.running() and not future.cancelled() and not future.cancel()
    assert over(future.result) and over(lambda: future.result(1))
    assert isinstance(future.exception(), predictd.TransportError)
    assert concurrent.futures.wait([future]).done == {future} == set(concurrent.futures.as_completed([future]))
    assert finished.result().outputs.sum() == 16
    return client.submit("double", rows).result().outputs.sum() == 16
"""


def test_a_forks_child_never_waits_for_a_future_of_its_parent(server: FakeServer, endpoint: str) -> None:
    go = threading.Event()
    server.replies = [
        lambda request: [answer(request)],
        lambda request: [answer(request)] if go.wait(BOUND_S) else [],
        lambda request: [answer(request)],
    ]
    program = f"""{PROLOGUE}{CHILD}
finished = client.submit("double", rows)
finished.result()
future = client.submit("double", rows)
parents = []
future.add_done_callback(parents.append)
held, forked = threading.Event(), threading.Event()
def hold():
    with finished._condition, future._condition:
        held.set()
        forked.wait()
holding = threading.Thread(target=hold)
holding.start()
held.wait()
pid = os.fork()
if pid == 0:
    try:
        os._exit(0 if child() else 1)
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        os._exit(3)
forked.set()
holding.join()
print("forked", flush=True)
assert future.result().outputs.sum() == 16 and parents == [future]
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""
    releasing = threading.Timer(1.0, go.set)
    releasing.start()
    ran = run_program(program, endpoint)
    releasing.join()
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("where", ["PredictionFuture", "_take_place", "_post"])
def test_a_signal_in_a_submit_takes_no_place_with_it(
    server: FakeServer, client: predictd.Client, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    assert works(client)

    owner: Any = dispatchers if where == "PredictionFuture" else dispatchers.Dispatcher
    original = getattr(owner, where)

    def after(*arguments: object) -> None:
        original(*arguments)
        if where != "_post" or sys._getframe(1).f_code.co_name == "submit":
            raise Signalled

    with monkeypatch.context() as patch, pytest.raises(Signalled):  # noqa: PT012
        patch.setattr(owner, where, after)
        client.submit("double", ROWS)
    assert works(client)
    assert works(client)


def test_places_are_given_back_once_and_waited_for() -> None:
    places: Places[str] = Places(2)
    assert places.take("a", 0)
    assert places.take("b", 0)
    assert not places.take("c", 0.001)
    places.leave("c")
    assert len(places) == 2
    waiting = threading.Thread(target=lambda: places.take("c", BOUND_S), daemon=True)
    waiting.start()
    places.leave("a")
    places.leave("a")
    waiting.join(BOUND_S)
    assert len(places) == 2
    assert not places.take("a", 0)


@pytest.mark.parametrize("is_recent", [True, False], ids=["recent", "idle"])
def test_a_lost_wake_up_costs_no_request(
    server: FakeServer, client: predictd.Client, monkeypatch: pytest.MonkeyPatch, is_recent: bool
) -> None:
    monkeypatch.setattr(dispatchers, "_RECENT_S", BOUND_S if is_recent else 0.0)
    assert works(client)
    dispatcher = client._dispatcher()
    wait_until(lambda: dispatcher._is_asleep and dispatcher._exchange.is_idle)
    with monkeypatch.context() as patch:
        patch.setattr(dispatcher, "_wake", lambda: None)
        assert client.submit("double", ROWS).result(BOUND_S / 2).outputs.sum() == 16


def test_a_wake_up_that_a_signal_cut_short_is_made_up_for(
    server: FakeServer, client: predictd.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatchers, "_IDLE_MS", 3_600_000.0)
    monkeypatch.setattr(dispatchers, "_RECENT_S", 0.0)
    assert works(client)
    dispatcher = client._dispatcher()
    wait_until(lambda: dispatcher._is_asleep and dispatcher._exchange.is_idle)
    lock = dispatcher._lock

    class Interrupted:
        def __enter__(self) -> None:
            raise Signalled

        def __exit__(self, *_: object) -> None: ...

    dispatcher._lock = Interrupted()  # type: ignore[assignment]
    try:
        with pytest.raises(Signalled):
            dispatcher._wake()
    finally:
        dispatcher._lock = lock
    assert works(client)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, ZeroDivisionError])
def test_what_a_callback_raises_harms_no_other_callback_and_no_other_future(
    server: FakeServer, endpoint: str, caplog: pytest.LogCaptureFixture, kind: type[BaseException]
) -> None:
    go = threading.Event()
    server.replies = [lambda request: [answer(request)] if go.wait(BOUND_S) else []]

    def exits(future: object) -> None:
        raise kind

    called: list[object] = []
    with predictd.Client(endpoint, timeout_ms=20_000) as client:
        futures = [client.submit("double", ROWS) for _ in range(4)]
        futures[0].add_done_callback(exits)
        futures[0].add_done_callback(called.append)
        go.set()
        assert [future.result().outputs.sum() for future in futures] == [16] * 4
        wait_until(lambda: called == futures[:1])
        assert works(client)
    (record,) = [record for record in caplog.records if record.name == "concurrent.futures"]
    assert kind.__name__ in str(record.exc_text)


def test_a_callback_that_raises_when_its_future_is_cancelled_keeps_nothing_from_the_server(
    server: FakeServer, client: predictd.Client
) -> None:
    server.replies = [silent, lambda request: [answer(request)]]

    def exits(future: object) -> None:
        raise SystemExit

    future = client.submit("double", ROWS, timeout_ms=600_000)
    server.wait_for(PredictRequest)
    future.add_done_callback(exits)
    with pytest.raises(SystemExit):
        future.cancel()
    server.wait_for(CancelRequest)
    assert works(client)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_of_the_thread_is_the_cause_of_what_its_futures_say(
    server: FakeServer, client: predictd.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert works(client)
    dispatcher = client._dispatcher()
    server.replies = [silent]

    def fails() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(dispatcher._exchange, "turn", fails)
    error = client.submit("double", ROWS).exception()
    assert isinstance(error, predictd.RequestCancelledError)
    assert isinstance(error.__cause__, ZeroDivisionError)
    monkeypatch.undo()
    server.replies = [lambda request: [answer(request)]]
    wait_until(lambda: works(client))
    assert concurrent.futures.wait([client.submit("double", ROWS)], BOUND_S).not_done == set()
