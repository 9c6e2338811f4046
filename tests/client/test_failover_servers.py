"""Several real servers of which one is killed, stopped, restarted, busy or was never there."""

from __future__ import annotations

import pickle
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import predictd
from predictd_proto.messages import Hello, PredictRequest
from tests.client.counted_process import CountedProcess
from tests.client.fake_process import run_program
from tests.client.fake_server import FakeServer, refuse
from tests.client.raw_server import RawServer

ROWS = np.ones((2, 4), np.float32)

#: Never reached where things work; a call that waits for the wrong thing takes so long that its test is stopped.
LONG_MS = 600_000.0


@pytest.fixture
def pair(folder: str) -> list[str]:
    return [f"ipc://{folder}/a.sock", f"ipc://{folder}/b.sock"]


def client_of(endpoints: list[str], **options: Any) -> predictd.Client:
    return predictd.Client(endpoints, **{"timeout_ms": 60_000, **options})


def once(client: predictd.Client, timeout_ms: float | None = None) -> bool:
    return bool((client.predict("double", ROWS, timeout_ms=timeout_ms).outputs == ROWS * 2).all())


class Load:
    """Threads that ask without a pause until they are stopped."""

    def __init__(self, client: predictd.Client, callers: int = 8) -> None:
        self._client = client
        self._stop = threading.Event()
        self._enough = threading.Condition()
        self._answered = 0
        self._threads = ThreadPoolExecutor(callers)
        self._calls = [self._threads.submit(self._call) for _ in range(callers)]

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._threads.shutdown()

    def _call(self) -> int:
        count = 0
        while not self._stop.is_set():
            assert once(self._client)
            count += 1
            with self._enough:
                self._answered += 1
                self._enough.notify_all()
        return count

    def more(self, count: int) -> None:
        """Wait for some more answers."""
        with self._enough:
            goal = self._answered + count
            assert self._enough.wait_for(lambda: self._answered >= goal or self.failures(), 60)
        assert not self.failures()

    def failures(self) -> list[BaseException]:
        return [error for call in self._calls if call.done() and (error := call.exception()) is not None]

    def end(self) -> None:
        """Stop; no call may have failed."""
        self._stop.set()
        assert all(call.result(60) > 0 for call in self._calls)


def test_no_call_fails_when_one_is_killed_and_traffic_returns_to_it(pair: list[str]) -> None:
    with CountedProcess(pair[0]) as first, CountedProcess(pair[1]), client_of(pair) as client, Load(client) as load:
        first.wait_for_requests()
        load.more(100)
        first.kill()
        load.more(300)
        with CountedProcess(pair[0]) as again:
            again.wait_for_requests()
            load.more(100)
            load.end()


def test_a_stopped_one_keeps_only_what_it_has_and_is_asked_again_when_it_goes_on(pair: list[str]) -> None:
    with CountedProcess(pair[0]) as first, CountedProcess(pair[1]), client_of(pair) as client:
        while not first.asked:
            assert once(client)
        first.stop()
        late = 0
        for _ in range(60):
            try:
                assert once(client, timeout_ms=3000)
            except predictd.DeadlineExceededError:
                late += 1
        assert late <= 1  # the one that found out
        before = first.asked
        first.resume()
        while first.asked <= before + 1:
            assert once(client)


def test_callers_beside_a_stuck_one_are_served_elsewhere(server: FakeServer, endpoint: str, pair: list[str]) -> None:
    with FakeServer(pair[0]) as stuck:
        stuck.replies = [lambda request: []]
        with client_of([pair[0], endpoint]) as client, ThreadPoolExecutor() as threads:
            routes = client.asking.routes
            routes.began(routes.links[1], "another request")
            waiting = threads.submit(once, client, timeout_ms=LONG_MS)
            stuck.wait_for(PredictRequest)
            routes.ended(routes.links[1], "another request")
            # It may still run, so it is left where it is; nobody else joins it for long.
            assert sum(once(client) for _ in range(200)) == 200
            assert not waiting.done()
            assert len(stuck.of(PredictRequest)) < 5
            stuck.stop()
            assert waiting.result(60)


def test_callers_of_a_stuck_one_do_not_keep_all_the_connections(
    server: FakeServer, endpoint: str, pair: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("predictd.connections.pool.most_connections", lambda: 3)
    with FakeServer(pair[0]) as stuck:
        stuck.replies = [lambda request: []]
        with client_of([pair[0], endpoint]) as client, ThreadPoolExecutor() as threads:
            stuck_link, other_link = client.asking.routes.links
            for name in range(10):
                client.asking.routes.began(other_link, name)
            waiting = [threads.submit(once, client, timeout_ms=LONG_MS) for _ in range(3)]
            stuck.wait_for(PredictRequest, 3)
            for name in range(10):
                client.asking.routes.ended(other_link, name)
            assert all(once(client) for _ in range(20))
            assert client.asking.routes._known()[stuck_link].circuit is None
            stuck.stop()
            assert all(call.result(60) for call in waiting)


def test_a_model_that_one_of_two_does_not_have_yet_is_asked_for_at_the_other(pair: list[str]) -> None:
    with FakeServer(pair[0]) as early, FakeServer(pair[1]) as full, client_of(pair, retries=None) as client:
        early.models = []
        early.replies = [refuse("model_not_found")]
        assert all(once(client) for _ in range(20))
        model = predictd.RemoteModel("double", client=client)
        assert (model.predict(np.ones((64, 4), np.float32), batch_size=8, verbose=0) == 2).all()
        futures = [client.submit("double", ROWS) for _ in range(20)]
        assert all((future.result(60).outputs == ROWS * 2).all() for future in futures)
        full.models = []
        full.replies = [refuse("model_not_found")]
        client.asking.close()
        with client_of(pair) as fresh:
            with pytest.raises(predictd.ModelNotFoundError, match="2 endpoints failed"):
                fresh.predict("double", ROWS)
            with pytest.raises(predictd.ModelNotFoundError, match="2 endpoints failed"):
                fresh.submit("double", ROWS).result(60)


def test_a_busy_one_is_left_alone_for_as_long_as_it_says(pair: list[str]) -> None:
    with FakeServer(pair[0]) as busy, FakeServer(pair[1]) as free, client_of(pair) as client:
        busy.replies = [refuse("overloaded", retry_after_ms=60_000)]
        for _ in range(50):
            assert once(client)
        assert len(free.of(PredictRequest)) == 50
        assert len(busy.of(PredictRequest)) <= 1


def test_a_draining_one_hands_over(pair: list[str]) -> None:
    with FakeServer(pair[0]) as draining, FakeServer(pair[1]) as free, client_of(pair) as client:
        draining.replies = [refuse("draining")]
        assert all(once(client) for _ in range(50))
        assert len(free.of(PredictRequest)) == 50


def silence(connection: socket.socket) -> None:
    connection.recv(1 << 20)
    connection.recv(1 << 20)


@pytest.mark.parametrize("retries", [None, predictd.Retries()])
def test_one_that_was_never_there_is_passed_over(
    server: FakeServer, endpoint: str, folder: str, retries: predictd.Retries | None
) -> None:
    nobody = [f"ipc://{folder}/none.sock", f"ipc://{folder}/none/d.sock", "tcp://127.0.0.1:9"]
    options = {"connect_timeout_ms": LONG_MS, "timeout_ms": LONG_MS, "retries": retries}
    for _ in range(5):
        with client_of([*nobody, endpoint], **options) as client:
            assert once(client)
            assert client.status().is_ready
            assert client.metadata("double").name == "double"


@pytest.mark.parametrize("retries", [None, predictd.Retries()])
def test_one_that_only_listens_gets_a_short_share_of_the_time(
    server: FakeServer, endpoint: str, pair: list[str], retries: predictd.Retries | None
) -> None:
    with RawServer(pair[0].removeprefix("ipc://"), silence):
        for _ in range(5):
            with client_of(
                [pair[0], endpoint], connect_timeout_ms=LONG_MS, timeout_ms=LONG_MS, retries=retries
            ) as client:
                assert once(client)
                assert client.models("double")


def test_the_error_names_every_endpoint_with_its_reason(pair: list[str], folder: str) -> None:
    Path(pair[1].removeprefix("ipc://")).write_text("text")
    with client_of(pair, connect_timeout_ms=300) as client, pytest.raises(predictd.ServerUnavailableError) as caught:
        once(client)
    text = str(caught.value)
    assert text.startswith("2 endpoints failed: no predictd answered at ipc://")
    assert f"at {pair[0]}: " in text
    assert "no such socket file" in text
    assert f"{pair[1].removeprefix('ipc://')} is no socket: correct the endpoint" in text
    assert caught.value.detail["endpoints"] == dict.fromkeys(pair, "server_unavailable")
    assert pickle.loads(pickle.dumps(caught.value)).detail == caught.value.detail


def test_one_that_comes_up_meanwhile_is_found(pair: list[str]) -> None:
    with client_of(pair, connect_timeout_ms=LONG_MS) as client, ThreadPoolExecutor() as threads:
        call = threads.submit(once, client)
        assert not call.done()
        with FakeServer(pair[1]):
            assert call.result(60)


def test_a_lost_request_is_sent_to_another_once(pair: list[str]) -> None:
    with CountedProcess(pair[0], "--silent") as first, CountedProcess(pair[1], "--silent") as second:
        servers = (first, second)
        with client_of(pair, timeout_ms=LONG_MS) as client, ThreadPoolExecutor() as threads:
            call = threads.submit(once, client)
            while not (asked := [process for process in servers if process.asked]):
                assert not call.done()
            asked[0].kill()
            (other,) = [process for process in servers if process is not asked[0]]
            other.wait_for_requests()
            other.kill()
            with pytest.raises(predictd.ServerLostError) as caught:
                call.result(60)
    assert all(endpoint in str(caught.value) for endpoint in pair)


def test_status_and_models_come_from_the_first_that_answers(server: FakeServer, endpoint: str, pair: list[str]) -> None:
    for _ in range(5):
        with client_of([pair[0], endpoint]) as client:
            assert client.status().endpoint == endpoint
            assert {metadata.name for metadata in client.models()} >= {"double", "pair"}
            with pytest.raises(predictd.ModelNotFoundError):
                client.models("none")


def test_a_silent_control_socket_is_passed_over(server: FakeServer, endpoint: str, pair: list[str]) -> None:
    with FakeServer(pair[0]) as silent:
        silent.control_is_silent = True
        for _ in range(5):
            with client_of([pair[0], endpoint], timeout_ms=LONG_MS) as client:
                assert client.status().endpoint == endpoint
                assert once(client)


def test_ready_means_that_one_of_them_is(server: FakeServer, endpoint: str, pair: list[str]) -> None:
    with FakeServer(pair[0]) as loading:
        loading.state = server.state = "loading"
        with client_of([pair[0], pair[1], endpoint]) as client:
            with pytest.raises(predictd.ModelNotReadyError, match=r"not ready within .* 3 endpoints failed"):
                client.wait_until_ready(3)
            looks: list[float] = []

            def wait(seconds: float) -> None:
                looks.append(seconds)
                if len(looks) == 2:
                    server.state = "ready"

            assert client.wait_until_ready(60, sleep=wait).endpoint == endpoint
            assert len(looks) == 2
            assert client.wait_until_ready(60, model="double").is_ready is False
    with client_of(pair) as client, pytest.raises(predictd.ServerUnavailableError, match="2 endpoints failed"):
        client.wait_until_ready(0.3)


def test_a_client_of_several_shows_and_pickles_them(pair: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for given in (pair, tuple(pair), ",".join(pair), iter(pair)):
        client = predictd.Client(given)
        for same in (client, pickle.loads(pickle.dumps(client))):
            assert same.endpoints == tuple(pair)
            assert same.endpoint == ", ".join(pair)
            assert repr(same) == f"<predictd.Client {pair[0]}, {pair[1]}, time-out 30.0 s>"
    monkeypatch.setenv("PREDICTD_ENDPOINT", ",".join(pair))
    client = predictd.Client()
    assert repr(client).startswith("<predictd.Client default endpoint")
    assert client.endpoints == tuple(pair)
    monkeypatch.setenv("PREDICTD_ENDPOINT", f"{pair[0]},,")
    with pytest.raises(predictd.ConfigError, match="from PREDICTD_ENDPOINT: endpoint 2 of 3"):
        predictd.Client().predict("double", ROWS)
    for wrong in (7, [], [pair[0], pair[0]], [7], "x,y"):
        with pytest.raises(predictd.ConfigError, match="endpoint"):
            predictd.Client(wrong)  # type: ignore[arg-type]


@pytest.fixture
def servers(pair: list[str]) -> Iterator[list[FakeServer]]:
    with FakeServer(pair[0], server_id="a") as first, FakeServer(pair[1], server_id="b") as second:
        yield [first, second]


def test_many_callers_are_spread_over_both(servers: list[FakeServer], pair: list[str]) -> None:
    with client_of(pair) as client, Load(client) as load:
        load.more(400)
        load.end()
    asked = [len(server.of(PredictRequest)) for server in servers]
    assert min(asked) > sum(asked) / 10


def test_a_remote_model_takes_several_too(servers: list[FakeServer], pair: list[str]) -> None:
    model = predictd.RemoteModel("double", endpoint=pair)
    many = np.arange(4000, dtype=np.float32).reshape(1000, 4)
    assert (model.predict(many, batch_size=50) == many * 2).all()
    assert (model.predict(ROWS) == ROWS * 2).all()
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    assert lines[0] == f'Model: "double", version 1, served at {pair[0]}, {pair[1]}'
    assert repr(pickle.loads(pickle.dumps(model))) == repr(model)


def test_each_process_finds_out_by_itself(pair: list[str]) -> None:
    program = """
import os, sys
import numpy as np
import predictd
client = predictd.Client(sys.argv[1:], timeout_ms=60_000)
rows = np.ones((2, 4), np.float32)
def works(): return all(client.predict("double", rows).outputs.sum() == 16 for _ in range(20))
def opened(): return sum(route.circuit is not None for route in client.asking.routes._known().values())
assert works() and opened() == 1
pid = os.fork()
if pid == 0:
    os._exit(0 if opened() == 0 and works() and opened() == 1 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert works()
"""
    with FakeServer(pair[1]):
        ran = run_program(program, *pair)
    assert ran.returncode == 0, ran.stderr


def test_both_are_shaken_hands_with_once_by_a_single_caller(servers: list[FakeServer], pair: list[str]) -> None:
    with client_of(pair) as client:
        assert all(once(client) for _ in range(200))
    assert [len(server.of(Hello)) for server in servers] == [1, 1]
