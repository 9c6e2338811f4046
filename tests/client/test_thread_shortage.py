"""When the system has no thread to give, a call says so, and the next one works."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import predictd
from predictd.in_flight.background import BackgroundThread
from predictd.in_flight.jobs import Jobs
from tests.client.fake_server import FakeServer
from tests.client.test_async_client import rows_of, run

ROWS = np.ones((2, 4), np.float32)
BOUND_S = 60.0


class Signalled(Exception):  # noqa: N818  (no error of ours)
    """What a signal's handler raises."""


@contextlib.contextmanager
def refused(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException) -> Iterator[None]:
    """Let no thread of this name start."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == name:
            raise error
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        yield


def no_more() -> RuntimeError:
    return RuntimeError("can't start new thread")


@pytest.mark.parametrize("error", [no_more(), MemoryError(), Signalled()], ids=["limit", "memory", "signal"])
def test_a_dispatcher_without_its_thread_is_started_by_the_next_submit(
    server: FakeServer, endpoint: str, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    with predictd.Client(endpoint, timeout_ms=20_000, max_in_flight=1) as client:
        expected = Signalled if isinstance(error, Signalled) else predictd.TransportError
        with refused(monkeypatch, "predictd-dispatcher", error), pytest.raises(expected):
            client.submit("double", ROWS)
        assert len(os.listdir("/proc/self/fd")) == descriptors
        assert client.submit("double", ROWS).result().outputs.sum() == 16


def test_a_dispatcher_without_its_pipe_is_started_by_the_next_submit(
    server: FakeServer, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_pipe() -> None:
        raise OSError(24, "Too many open files")

    with predictd.Client(endpoint, timeout_ms=20_000) as client:
        with monkeypatch.context() as patch, pytest.raises(predictd.TransportError, match="ulimit -n"):  # noqa: PT012
            patch.setattr("predictd.in_flight.dispatcher.os.pipe", no_pipe)
            client.submit("double", ROWS)
        assert client.submit("double", ROWS).result().outputs.sum() == 16


def test_a_signal_out_of_a_start_that_worked_leaves_the_thread_alone(
    server: FakeServer, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, has_run = threading.Thread.start, threading.Event()
    run_dispatcher = BackgroundThread.run

    def begin(thread: BackgroundThread) -> None:
        has_run.set()
        run_dispatcher(thread)

    def start_and_raise(thread: threading.Thread) -> None:
        start(thread)
        if thread.name == "predictd-dispatcher":
            while thread._permit:  # type: ignore[attr-defined]
                assert has_run.wait(BOUND_S)
            raise Signalled

    with predictd.Client(endpoint, timeout_ms=20_000) as client:
        with monkeypatch.context() as patch, pytest.raises(Signalled):  # noqa: PT012
            patch.setattr(BackgroundThread, "run", begin)
            patch.setattr(threading.Thread, "start", start_and_raise)
            client.submit("double", ROWS)
        assert client.submit("double", ROWS).result().outputs.sum() == 16
        names = [thread.name for thread in threading.enumerate()]
        assert names.count("predictd-dispatcher") == 1


def test_a_future_whose_connecting_has_no_thread_fails_and_the_next_works(
    server: FakeServer, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with predictd.Client(endpoint, timeout_ms=20_000) as client:
        with refused(monkeypatch, "predictd-job", no_more()):
            error = client.submit("double", ROWS).exception()
        assert isinstance(error, predictd.TransportError)
        assert "can't start new thread" in str(error)
        assert isinstance(error.__cause__, RuntimeError)
        assert client.submit("double", ROWS).result().outputs.sum() == 16


def test_a_coroutine_whose_connecting_has_no_thread_fails_and_the_next_works(
    server: FakeServer, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with predictd.AsyncClient(endpoint, timeout_ms=20_000) as client:
            with refused(monkeypatch, "predictd-job", no_more()):
                with pytest.raises(predictd.TransportError, match="can't start new thread"):
                    await client.predict("double", ROWS)
                with pytest.raises(predictd.TransportError, match="can't start new thread"):
                    await client.status()
            assert (await client.predict("double", rows_of(3))).outputs[0, 0] == 6

    run(main())


def test_a_signal_out_of_a_jobs_start_ends_the_job_and_goes_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Callable[[], None]] = []
    ended: list[BaseException | None] = []
    with refused(monkeypatch, "predictd-job", Signalled()), pytest.raises(Signalled):
        Jobs(calls.append).start(lambda clock: None, lambda result, error: ended.append(error))
    (deliver,) = calls
    deliver()
    assert isinstance(ended[0], predictd.TransportError)
