"""Both fakes, as a test suite uses them: what was asked is seen, clients of modules find each test's fake."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import predictd
from predictd.testing import FakeModel, FakeServer, fake_server, in_process, new_endpoint
from predictd_proto.limits import Limits
from tests.client.fake_process import run_program
from tests.ports import free_tcp_endpoint
from tests.testing_kit.conftest import ROWS, Serve, doubling

# As in a user's module: made at import, its endpoint looked for once, its connections kept.
MODEL = predictd.RemoteModel("double")
CLIENT = predictd.Client(retries=None, timeout_ms=30_000)


def test_what_was_asked_is_seen(server: FakeServer, client: predictd.Client) -> None:
    words: dict[str, Any] = {"caller_class": "web", "task_id": "7", "task_name": "shop.digit", "traceparent": "00-1"}
    client.predict("double", ROWS, timeout_ms=9_000, **words)
    rows = ROWS.copy()
    client.predict("double", {"x": rows}, version=1)
    rows[:] = 0
    first, second = server.requests
    assert (first.model, first.version, first.signature, first.rows) == ("double", None, None, 3)
    assert {name: getattr(first, name) for name in words} == words
    assert first.timeout_ms is not None
    assert 0 < first.timeout_ms <= 9_000
    assert first.inputs.tolist() == ROWS.tolist()
    assert (second.version, second.inputs.tolist()) == (1, ROWS.tolist())
    assert second.arrays["x"].dtype == np.float32
    told = "caller_class='web' task_name='shop.digit' task_id='7'"
    assert repr(first) == f"<request 'double' {told} float32[3, 4]: answered>"


def test_assertions_pass_and_fail_in_words(server: FakeServer, client: predictd.Client) -> None:
    server.assert_not_asked()
    client.predict("double", ROWS, task_id="7")
    server.assert_asked()
    server.assert_asked("double", times=1, inputs=ROWS.astype("float64"), task_id="7")
    server.assert_not_asked("other")
    listed = "in all, the fake got 1 request:\n  1. <request 'double' task_id='7' float32[3, 4]: answered>"
    for call, said in (
        (lambda: server.assert_asked("other"), "expected a request with model='other', got 0; "),
        (lambda: server.assert_asked("double", times=2), "expected 2 requests with model='double', got 1; "),
        (lambda: server.assert_asked(inputs=-ROWS), "with inputs=float32[3, 4] of these values, got 0; "),
        (lambda: server.assert_asked(task_id="8"), "expected a request with task_id='8', got 0; "),
        (server.assert_not_asked, "expected 0 requests, got 1; "),
    ):
        with pytest.raises(AssertionError) as caught:
            call()
        assert said in str(caught.value)
        assert str(caught.value).endswith(listed)
    with pytest.raises(TypeError, match="a request has no colour; it has model, inputs"):
        server.assert_asked(colour="red")


@pytest.mark.parametrize(
    ("declared", "given", "unlike"),
    [
        ([("int32", (None, 1)), ("int32", (None, 1))], [[[1]], [[2]]], [5, [[[1]]], [[[1.5]], [[2]]], [["a"], ["b"]]]),
        (("int32", (None, 1)), [[1]], [[[1.9]], [["a"]], [[1], [1, 2]], 1, [[2**32 + 1]]]),
        (("string", (None,)), ["a"], [["b"], [["a"]], [1]]),
        (("float32", (None,)), [0.1], [[0.2], ["a"]]),
    ],
)
def test_inputs_are_compared_by_value(serve: Serve, declared: Any, given: Any, unlike: list[Any]) -> None:
    model = FakeModel("m", inputs=declared, outputs=("float32", (None,)))
    with serve(model) as server, predictd.Client(retries=None, timeout_ms=30_000) as client:
        client.predict("m", given, cast=True)
        server.assert_asked(inputs=given)
        for other in unlike:
            with pytest.raises(AssertionError):
                server.assert_asked(inputs=other)


def test_inputs_are_nested_while_a_model_loads(server: FakeServer, client: predictd.Client) -> None:
    client.metadata("double")
    with server.faults.loading(), pytest.raises(predictd.ModelNotReadyError):
        client.predict("double", ROWS)
    for request in server.requests:
        assert request.inputs.tolist() == ROWS.tolist()


def test_decorators_serve_while_the_function_runs(serve: Serve) -> None:
    def ask() -> float:
        return float(predictd.RemoteModel("double").predict(ROWS)[0, 1])

    @serve(doubling())
    def plain() -> float:
        return ask()

    @serve(doubling())
    async def coroutine() -> float:
        await asyncio.sleep(0)
        return ask()

    for _ in range(2):
        assert plain() == 2
        assert asyncio.run(coroutine()) == 2
    assert (plain.__name__, inspect.iscoroutinefunction(coroutine)) == ("plain", True)

    def generator() -> Iterator[int]:
        yield 1

    with pytest.raises(predictd.ConfigError, match="generator: a fake can't decorate a generator; use it in a `with`"):
        serve(doubling())(generator)


def test_waiting_for_requests(server: FakeServer, client: predictd.Client) -> None:
    with ThreadPoolExecutor() as threads, server.faults.delay(20):
        asked = [threads.submit(client.predict, "double", ROWS) for _ in range(3)]
        assert len(server.wait_for_requests(3)) == 3
        assert {future.result().outputs.shape for future in asked} == {(3, 4)}
    with pytest.raises(AssertionError, match=r"expected 4 requests for model 'double' within 0\.01 s, got 3 requests"):
        server.wait_for_requests(4, "double", timeout_s=0.01)
    with pytest.raises(AssertionError, match="in vain for"):
        server.wait_until(lambda: False, timeout_s=0.01)


def test_what_is_waited_for_may_ask_the_fake_and_lie_outside(server: FakeServer, client: predictd.Client) -> None:
    server.wait_until(lambda: client.status().is_ready)
    happened = threading.Event()
    timer = threading.Timer(0.1, happened.set)
    timer.start()
    server.wait_until(happened.is_set)
    timer.join()


def test_a_cancelled_request_is_seen_as_such(server: FakeServer, client: predictd.Client) -> None:
    with server.faults.drop(times=1):
        asked = client.submit("double", ROWS)
        server.wait_for_requests(1)
        asked.cancel()
    server.wait_until(lambda: server.requests[0].is_cancelled)
    assert repr(server.requests[0]).endswith(": dropped, cancelled>")
    assert client.predict("double", ROWS).outputs.sum() == ROWS.sum() * 2


def test_reset_forgets(server: FakeServer, client: predictd.Client) -> None:
    server.faults.refuse(predictd.PredictionError)
    with pytest.raises(predictd.PredictionError):
        client.predict("double", ROWS)
    server.reset()
    assert server.requests == []
    client.predict("double", ROWS)


def test_status_and_limits_are_the_fakes(serve: Serve) -> None:
    with serve(doubling(), limits=Limits(max_rows=2)) as server, predictd.Client() as client:
        status = client.wait_until_ready(30)
        assert (status.state, status.endpoint, status.pid) == ("ready", server.endpoint, os.getpid())
        with pytest.raises(predictd.RequestTooLargeError):
            client.predict("double", ROWS)
        assert MODEL.predict(np.ones((5, 4))).shape == (5, 4)
        assert [request.rows for request in server.requests] == [2, 2, 1]
        assert client.status().counters["requests_total"] == 3


def test_what_is_not_served_is_told(server: FakeServer, client: predictd.Client) -> None:
    with pytest.raises(
        predictd.ModelNotFoundError, match=r"no model 'cats' is served by this fake.*there are: 'double'"
    ):
        client.predict("cats", ROWS)
    server.models.put(doubling(version=2))
    server.models.remove("double", 1)
    assert [metadata.version for metadata in client.models()] == [2]


# Many tests, each with its own fake, in an order that mixes both kinds.
@pytest.mark.parametrize("turn", range(12))
def test_a_client_of_a_module_finds_each_tests_fake(turn: int) -> None:
    with (fake_server, in_process)[turn % 3 % 2](doubling(version=turn, answer=lambda x: x + turn)) as server:
        assert MODEL.predict(ROWS)[0, 0] == turn
        prediction = CLIENT.predict("double", ROWS)
        assert (prediction.outputs[0, 0], prediction.receipt.version) == (turn, turn)
        assert len(server.requests) == 2


def test_clients_in_threads_never_lose_a_request_between_two_fakes() -> None:
    for _ in range(20):
        with fake_server(doubling()) as server, ThreadPoolExecutor(8) as threads:
            together = threading.Barrier(8)
            list(threads.map(lambda _, met=together: (met.wait(60), CLIENT.predict("double", ROWS)), range(8)))
            assert len(server.requests) == 8


def test_the_environment_is_as_before(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREDICTD_ENDPOINT", "tcp://127.0.0.1:9")
    with serve() as server:
        assert os.environ["PREDICTD_ENDPOINT"] == server.endpoint
        with serve(endpoint=new_endpoint()):
            assert os.environ["PREDICTD_ENDPOINT"] == server.endpoint
    assert os.environ["PREDICTD_ENDPOINT"] == "tcp://127.0.0.1:9"
    monkeypatch.delenv("PREDICTD_ENDPOINT")
    with serve():
        pass
    assert "PREDICTD_ENDPOINT" not in os.environ


def test_two_fakes_need_two_endpoints(serve: Serve) -> None:
    with serve(doubling()) as first, serve(doubling(answer=lambda x: -x), endpoint=new_endpoint()) as second:
        assert predictd.Client(first.endpoint).predict("double", ROWS).outputs[0, 1] == 2
        assert predictd.Client(second.endpoint).predict("double", ROWS).outputs[0, 1] == -1
        with pytest.raises(
            predictd.ConfigError, match=r"answers at .* already.*endpoint=predictd\.testing\.new_endpoint"
        ):
            serve(doubling()).__enter__()
    with serve(doubling()):
        MODEL.predict(ROWS)


def test_failover_between_fakes(serve: Serve) -> None:
    with (
        serve(doubling(), endpoint=new_endpoint()) as first,
        serve(doubling(), endpoint=new_endpoint()) as second,
        predictd.Client([first.endpoint, second.endpoint]) as client,
        first.faults.away(),
    ):
        for _ in range(5):
            client.predict("double", ROWS)
        assert (len(first.requests), len(second.requests)) == (0, 5)


def test_an_endpoint_that_cannot_be_bound_is_told() -> None:
    with pytest.raises(predictd.ConfigError, match=r"a fake can't listen at ipc:///nowhere/at/all\.sock: No such"):
        fake_server(endpoint="ipc:///nowhere/at/all.sock").__enter__()


def test_in_process_answers_whatever_the_endpoint() -> None:
    with in_process(doubling()) as server:
        for endpoint in ("ipc:///run/predictd.sock", "tcp://127.0.0.1:9"):
            with predictd.Client(endpoint) as client:
                assert client.predict("double", ROWS).receipt.model == "double"
                assert client.status().is_ready
        assert len(server.requests) == 2


def test_tcp_works_too() -> None:
    with (
        fake_server(doubling(), endpoint=free_tcp_endpoint()) as server,
        predictd.Client(server.endpoint) as client,
    ):
        assert client.predict("double", ROWS).outputs.sum() == ROWS.sum() * 2


def test_other_processes_find_the_fake_and_nothing_is_left_behind() -> None:
    with fake_server(doubling()) as server:
        ran = run_program(
            "import numpy, predictd; print(predictd.RemoteModel('double').predict(numpy.ones((2, 4))).sum())"
        )
        assert (ran.returncode, ran.stdout) == (0, "16.0\n"), ran.stderr
        assert server.requests[0].rows == 2
    ran = run_program(
        "import predictd.testing as t\n"
        "with t.fake_server() as s: print(s.endpoint)\n"
        "print(sorted(__import__('os').listdir(s.endpoint[6:].rsplit('/', 1)[0])))"
    )
    assert ran.returncode == 0, ran.stderr
    endpoint, left = ran.stdout.splitlines()
    assert left == "[]"
    assert not os.path.exists(os.path.dirname(endpoint.removeprefix("ipc://")))


def test_each_process_has_a_directory_of_its_own() -> None:
    program = "import predictd.testing as t; print(t.new_endpoint())"
    first, second = (run_program(program).stdout for _ in range(2))
    assert re.fullmatch(r"ipc:///.*/predictd-\w+/1\.sock\n", first)
    assert first != second


def test_a_long_temporary_directory_is_not_used() -> None:
    ran = run_program(
        "import os, sys, tempfile; tempfile.tempdir = '/tmp/' + 'x' * 90\n"
        "import predictd.testing as t\nwith t.fake_server() as s: print(s.endpoint)"
    )
    assert ran.stdout.startswith("ipc:///tmp/predictd-"), ran.stderr


def test_importing_the_client_does_not_import_the_kit() -> None:
    ran = run_program("import sys, predictd; print([m for m in sys.modules if m.startswith('predictd.testing')])")
    assert ran.stdout == "[]\n"
    ran = run_program("import sys, predictd.testing; print({'pytest', 'zmq', 'asyncio'} & set(sys.modules) - {'zmq'})")
    assert ran.stdout == "set()\n"
