"""An answer that is slow, never ends or ends the thread disturbs nobody but those that wait for it."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import zmq

import predictd
from predictd.testing import WrongAnswerError, fake_server, in_process, new_endpoint
from tests.testing_kit.conftest import ROWS, Serve, doubling


def test_a_slow_answer_holds_up_no_handshake() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(x: Any) -> Any:
        begun.set()
        assert go_on.wait(60)
        return x * 2

    with fake_server(doubling(answer=slow)) as server, predictd.Client(timeout_ms=60_000) as client:
        first = client.submit("double", ROWS)
        assert begun.wait(60)
        second = client.submit("double", ROWS + 1)
        server.wait_for_requests(2)
        with predictd.Client(timeout_ms=60_000) as other:
            assert other.status().is_ready
            assert other.metadata("double").name == "double"
        second.cancel()
        server.wait_until(lambda: server.requests[1].is_cancelled)
        go_on.set()
        assert first.result(60).outputs.tolist() == (ROWS * 2).tolist()


def test_answers_are_given_one_after_another() -> None:
    running, most = 0, []

    def counted(x: Any) -> Any:
        nonlocal running
        running += 1
        most.append(running)
        running -= 1
        return x + x[0, 0]

    with fake_server(doubling(answer=counted)), predictd.Client(timeout_ms=60_000) as client:
        futures = [client.submit("double", ROWS + n) for n in range(50)]
        assert [future.result(60).outputs[0, 0] for future in futures] == [2 * n for n in range(50)]
    assert set(most) == {1}


def test_an_answer_that_never_returns_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("predictd.testing.answering.PATIENCE_S", 0.05)
    begun, go_on = threading.Event(), threading.Event()

    def slow(x: Any) -> Any:
        begun.set()
        go_on.wait(60)
        return x

    def body() -> None:
        with fake_server(doubling(answer=slow)), predictd.Client(timeout_ms=60_000, retries=None) as client:
            asked = client.submit("double", ROWS)
            assert begun.wait(60)
            asked.cancel()

    with pytest.raises(WrongAnswerError, match=r"an answer did not return though its fake has ended.*request 'double'"):
        body()
    go_on.set()
    with fake_server(doubling()):
        assert predictd.RemoteModel("double").predict(ROWS)[0, 1] == 2


def test_what_waits_when_a_fake_dies_is_not_answered() -> None:
    begun, go_on, answered = threading.Event(), threading.Event(), []

    def slow(x: Any) -> Any:
        answered.append(x)
        begun.set()
        assert go_on.wait(60)
        return x

    with fake_server(doubling(answer=slow)) as server, predictd.Client(retries=None, timeout_ms=60_000) as client:
        asked = [client.submit("double", ROWS) for _ in range(3)]
        assert begun.wait(60)
        server.wait_for_requests(3)
        with server.faults.away():
            for future in asked:
                with pytest.raises(predictd.ServerLostError):
                    future.result(60)
        go_on.set()
        assert client.predict("double", ROWS).outputs.tolist() == ROWS.tolist()
        assert len(answered) == 2
        assert [request.outcome for request in server.requests[1:]] == ["dropped", "dropped", "answered"]


LEAVING: list[Callable[[], Any]] = [lambda: pytest.fail("gone"), lambda: pytest.skip("gone"), lambda: sys.exit("gone")]


@pytest.mark.parametrize("leave", LEAVING, ids=["fail", "skip", "exit"])
def test_what_would_end_the_thread_is_told_to_its_author(serve: Serve, leave: Callable[[], Any]) -> None:
    def body() -> None:
        with (
            serve(doubling(answer=lambda x: leave())) as server,
            predictd.Client(retries=None, timeout_ms=60_000) as client,
            ThreadPoolExecutor(1) as threads,
        ):
            for _ in range(2):
                with pytest.raises(predictd.InternalServerError, match=r"double.*: its answer raised \w+: gone"):
                    threads.submit(client.predict, "double", ROWS).result()
            server.models.put(doubling())
            assert client.predict("double", ROWS).receipt.model == "double"

    with pytest.raises(WrongAnswerError, match="its answer raised"):
        body()


def test_in_the_tests_own_thread_it_goes_straight_there() -> None:
    with in_process(doubling(answer=lambda x: sys.exit("gone"))), pytest.raises(SystemExit):
        predictd.RemoteModel("double").predict(ROWS)


def no_socket(*_: Any) -> Any:
    # libzmq itself aborts the process when the descriptors end at another place than here.
    raise zmq.ZMQError(errno.EMFILE)


def test_a_fake_that_can_open_no_socket_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(zmq.Context, "socket", no_socket)
        with pytest.raises(predictd.ConfigError, match=r"a fake can't listen at .*open files"):
            fake_server(doubling()).__enter__()
    with fake_server(doubling()):
        predictd.RemoteModel("double").predict(ROWS)


@pytest.mark.parametrize("error", [zmq.ZMQError(errno.EMFILE), ZeroDivisionError("odd")])
def test_one_that_cannot_come_back_says_so(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: Any) -> Any:
        raise error

    with fake_server(doubling()) as server:
        away = server.faults.away()
        monkeypatch.setattr(zmq.Context, "socket", fail)
        with pytest.raises(predictd.ConfigError, match=r"a fake can('t)? listen at .*(open files|ZeroDivisionError)"):
            away.end()
        monkeypatch.undo()


def test_one_that_cannot_come_back_by_itself_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def body() -> None:
        with fake_server(doubling()) as server, monkeypatch.context() as patch:
            patch.setattr(zmq.Context, "socket", no_socket)
            server.faults.away(back_after_ms=1)
            threads = [t for t in threading.enumerate() if t.name == "predictd-fake"]
            for thread in threads:
                thread.join(60)

    # At the end, or at once where it failed before `away` returned.
    with pytest.raises((WrongAnswerError, predictd.ConfigError), match="a fake can't listen at"):
        body()


def test_a_fake_that_is_refused_leaves_nothing_open() -> None:
    with fake_server():
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(10):
            with pytest.raises(predictd.ConfigError, match="already"):
                fake_server().__enter__()
        assert len(os.listdir("/proc/self/fd")) == before


def test_changes_of_a_model_end_with_the_fake(serve: Serve) -> None:
    model = doubling()
    for _ in range(2):
        with serve(model) as server:
            assert predictd.RemoteModel("double").predict(ROWS)[0, 1] == 2
            server.models.get("double").answer = [1.0, 2.0, 3.0, 4.0]
            assert predictd.RemoteModel("double").predict(ROWS)[0, 1] == 2
            model.state, model.signatures["more"] = "failed", model.signatures["serving_default"]
    assert (model.state, list(model.signatures)) == ("ready", ["serving_default"])


def test_reset_forgets_no_mistake(serve: Serve) -> None:
    def body() -> None:
        with serve(doubling(answer=lambda x: x[:1]), endpoint=new_endpoint()) as server:
            with pytest.raises(predictd.InternalServerError):
                predictd.RemoteModel("double", endpoint=server.endpoint).predict(ROWS)
            server.reset()

    with pytest.raises(WrongAnswerError):
        body()
