"""Each fault is what it says, for as many requests as it says, and composes with others in order."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import predictd
from predictd.testing import FakeModel, FakeServer, Fault, Faults, WrongAnswerError, in_process
from predictd_proto.dtypes import DTYPE_BYTES, STRING
from predictd_proto.errors import ERROR_CLASSES
from tests.testing_kit.conftest import ROWS, Serve, doubling

TIMES = 3


def outcome(client: predictd.Client, **options: Any) -> str:
    try:
        prediction = client.predict("double", ROWS, **options)
    except predictd.PredictdError as error:
        return type(error).__name__
    return "right" if (prediction.outputs == ROWS * 2).all() else "wrong"


SWITCHES: list[tuple[Callable[[Faults], Fault], str]] = [
    (lambda faults: faults.delay(1, times=TIMES), "right"),
    (lambda faults: faults.drop(times=TIMES), "DeadlineExceededError"),
    (lambda faults: faults.overload(times=TIMES), "OverloadedError"),
    (lambda faults: faults.refuse(predictd.PredictionError("no"), times=TIMES), "PredictionError"),
    (lambda faults: faults.flaky(1.0, seed=1, times=TIMES), "OverloadedError"),
    (lambda faults: faults.wrong_names(times=TIMES), "RemoteProtocolError"),
    (lambda faults: faults.corrupt(times=TIMES), "RemoteProtocolError"),
    (lambda faults: faults.other_id(times=TIMES), "DeadlineExceededError"),
]


@pytest.mark.parametrize(("switch", "expected"), SWITCHES, ids=["delay", "drop", "overload", "refuse", "flaky", "names",
                                                               "corrupt", "id"])  # fmt: skip
def test_a_fault_strikes_so_many_requests_and_no_more(
    server: FakeServer, client: predictd.Client, switch: Callable[[Faults], Fault], expected: str
) -> None:
    # A connection and the signature first: a short time-out is for the answer alone.
    assert outcome(client) == "right"
    fault = switch(server.faults)
    timeout_ms = 1_000 if expected == "DeadlineExceededError" else 30_000
    assert [outcome(client, timeout_ms=timeout_ms) for _ in range(TIMES)] == [expected] * TIMES
    assert outcome(client) == "right"
    assert fault.struck == TIMES
    assert server.faults.active == ()


def test_a_fault_ends_with_its_block(server: FakeServer, client: predictd.Client) -> None:
    with server.faults.overload() as fault:
        assert repr(fault) == "<fault overload, struck 0 times>"
        assert [outcome(client) for _ in range(2)] == ["OverloadedError"] * 2
    assert outcome(client) == "right"
    assert fault.struck == 2


@pytest.mark.parametrize("error", [error for error in ERROR_CLASSES.values() if error is not predictd.ConfigError])
def test_every_error_can_be_had(
    server: FakeServer, client: predictd.Client, error: type[predictd.PredictdError]
) -> None:
    with server.faults.refuse(error), pytest.raises(error) as caught:
        client.predict("double", ROWS)
    assert type(caught.value) is error


def test_an_overloaded_fake_says_when_to_come_back(server: FakeServer, client: predictd.Client) -> None:
    with server.faults.overload(retry_after_ms=7), pytest.raises(predictd.OverloadedError) as caught:
        client.predict("double", ROWS)
    assert caught.value.retry_after_ms == 7
    patient = predictd.Client()
    with server.faults.overload(retry_after_ms=1, times=2):
        assert outcome(patient) == "right"
    assert [request.outcome for request in server.requests] == ["overloaded"] * 3 + ["answered"]


def refused(client: predictd.Client) -> str:
    with pytest.raises(predictd.RemoteProtocolError) as caught:
        client.predict("double", ROWS)
    return caught.value.message


def test_wrong_dtypes_and_shapes_are_sent(server: FakeServer, client: predictd.Client) -> None:
    with server.faults.wrong_dtype("int32", times=1):
        assert "the server answered int32[3, 4]" in refused(client)
    with server.faults.wrong_dtype():
        assert "the server answered float64[3, 4]" in refused(client)
    for dtype in {*DTYPE_BYTES, STRING} - {"float32"}:
        with server.faults.wrong_dtype(dtype):
            assert f"the server answered {dtype}[3, 4]" in refused(client)
    with server.faults.wrong_shape():
        assert "3 rows were sent, the server answered 4" in refused(client)


def test_a_fake_that_fails_itself_says_so(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    def body() -> None:
        with serve(doubling()), predictd.Client(retries=None) as client:
            client.metadata("double")
            with monkeypatch.context() as patch:
                patch.setattr("predictd.testing.daemon.fake_receipt", broken)
                assert outcome(client) == "InternalServerError"
            assert outcome(client) == "right"

    with pytest.raises(WrongAnswerError, match="the fake can't answer: "):
        body()


def test_only_one_model_and_only_after_some(server: FakeServer, client: predictd.Client) -> None:
    server.models.put(doubling())
    with server.faults.refuse(predictd.PredictionError, model="other"):
        assert outcome(client) == "right"
    with server.faults.refuse(predictd.PredictionError, after=2, times=1):
        assert [outcome(client) for _ in range(4)] == ["right", "right", "PredictionError", "right"]


def test_faults_act_in_order_and_one_that_decides_is_the_last(server: FakeServer, client: predictd.Client) -> None:
    slow = server.faults.delay(1)
    first = server.faults.refuse(predictd.PredictionError, times=1)
    second = server.faults.refuse(predictd.OverloadedError, times=1)
    names = server.faults.wrong_names(times=1)
    assert [outcome(client) for _ in range(4)] == ["PredictionError", "OverloadedError", "RemoteProtocolError", "right"]
    assert [fault.struck for fault in (slow, first, second, names)] == [4, 1, 1, 1]
    assert server.faults.active == (slow,)


def test_flaky_is_the_same_for_one_seed(server: FakeServer, client: predictd.Client) -> None:
    def drawn(seed: int) -> list[str]:
        with server.faults.flaky(0.5, seed, predictd.PredictionError):
            return [outcome(client) for _ in range(30)]

    assert drawn(1) == drawn(1)
    assert set(drawn(1)) == {"right", "PredictionError"}
    assert drawn(1) != drawn(2)


def test_delays_hold_back_only_their_own_answers(server: FakeServer, client: predictd.Client) -> None:
    client.metadata("double")
    with ThreadPoolExecutor() as threads:
        server.faults.delay(20_000, times=1)
        held = threads.submit(outcome, client, timeout_ms=5_000)
        server.wait_for_requests(1)
        assert [outcome(client) for _ in range(20)] == ["right"] * 20
        assert held.result() == "DeadlineExceededError"


@pytest.mark.parametrize("after", [0, 2])
def test_dying_in_mid_batch_takes_the_waiting_along(server: FakeServer, client: predictd.Client, after: int) -> None:
    client.metadata("double")
    with ThreadPoolExecutor() as threads, server.faults.die(after):
        asked = [threads.submit(outcome, client) for _ in range(after + 1)]
        assert [future.result() for future in asked] == ["ServerLostError"] * (after + 1)
        with pytest.raises(predictd.ServerUnavailableError, match=r"away|no such socket file"):
            predictd.Client(connect_timeout_ms=150, retries=None).predict("double", ROWS)
    assert outcome(client) == "right"


def test_one_that_comes_back_is_a_new_server(server: FakeServer) -> None:
    with predictd.Client() as client:
        before = client.status().server_id
        server.faults.die(back_after_ms=30)
        assert outcome(client) == "right"
        assert client.status().server_id != before
    assert [request.outcome for request in server.requests] == ["dropped", "answered"]


def test_away_and_back(server: FakeServer, client: predictd.Client) -> None:
    for _ in range(3):
        assert outcome(client) == "right"
        with server.faults.away(), pytest.raises(predictd.ServerUnavailableError):
            predictd.Client(connect_timeout_ms=100, retries=None).status()
        assert outcome(client) == "right"
    server.faults.away(back_after_ms=50)
    assert outcome(client) == "right"


def test_reset_brings_back_one_that_died(server: FakeServer, client: predictd.Client) -> None:
    server.faults.die()
    assert outcome(client) == "ServerLostError"
    server.faults.delay(0)
    server.reset()
    assert outcome(client) == "right"
    server.presence.leave()
    server.reset()
    assert outcome(client) == "right"


def test_the_outer_of_two_blocks_keeps_it_away(server: FakeServer, client: predictd.Client) -> None:
    with server.faults.die():
        assert outcome(client) == "ServerLostError"
        with server.faults.away():
            with server.faults.away() as inner:
                inner.end()
            assert not server.presence.is_here
        assert not server.presence.is_here
    assert outcome(client) == "right"
    with server.faults.die(), server.faults.away(back_after_ms=1):
        with server.faults.away():
            assert not server.presence.is_here
        assert server.presence.is_here


def test_callers_wait_for_one_that_is_coming_back(server: FakeServer, client: predictd.Client) -> None:
    away = server.faults.away()
    begun = threading.Event()

    def ask() -> str:
        begun.set()
        return outcome(client)

    with ThreadPoolExecutor() as threads:
        asked = threads.submit(ask)
        assert begun.wait(60)
        # Most likely in the midst of looking for it; right in any case.
        time.sleep(0.05)
        away.end()
        assert asked.result(60) == "right"


def test_loading_is_seen_and_waited_for(server: FakeServer, client: predictd.Client) -> None:
    with server.faults.loading():
        assert client.status().state == "starting"
        assert outcome(client) == "ModelNotReadyError"
    with server.faults.loading("double"):
        assert (client.status().models[0].state, outcome(client)) == ("loading", "ModelNotReadyError")
    assert client.wait_until_ready().state == "ready"
    assert outcome(client) == "right"


def test_draining_is_seen(server: FakeServer, client: predictd.Client) -> None:
    with server.faults.draining():
        assert (outcome(client), client.status().state) == ("ServerDrainingError", "draining")
    assert outcome(client) == "right"


def test_silence_is_a_time_out(server: FakeServer, client: predictd.Client) -> None:
    assert outcome(client) == "right"
    with server.faults.silence():
        assert outcome(client, timeout_ms=1_000) == "DeadlineExceededError"
        with pytest.raises(predictd.PredictdError):
            predictd.Client(timeout_ms=500).status()
    assert outcome(client) == "right"


def test_handshakes_that_fail(server: FakeServer) -> None:
    with server.faults.other_protocol(200), pytest.raises(predictd.ProtocolVersionError, match="client is older"):
        predictd.Client(retries=None).predict("double", ROWS)
    with server.faults.refuse_handshake(predictd.InternalServerError("boot")):
        assert outcome(predictd.Client(retries=None)) == "InternalServerError"
    assert outcome(predictd.Client(retries=None)) == "right"


def test_everything_ends_with_reset(serve: Serve) -> None:
    with serve(doubling()) as server, predictd.Client(retries=None) as client:
        for switch in (server.faults.overload, server.faults.silence, server.faults.draining, server.faults.away):
            switch()
        assert len(server.faults.active) == 4
        server.reset()
        assert outcome(client) == "right"


@pytest.mark.parametrize(
    ("switch", "said"),
    [
        (lambda faults: faults.delay(-1), "faults.delay: ms: expected a number of milliseconds"),
        (lambda faults: faults.wrong_dtype("float33"), "expected one of the wire's dtypes, such as 'int32', got"),
        (lambda faults: faults.flaky(2, seed=1), "faults.flaky: rate: expected a share from 0 to 1, got 2"),
        (lambda faults: faults.refuse(ValueError), "expected one of predictd's errors"),
        (lambda faults: faults.refuse(predictd.RetryableError), "expected one of predictd's errors"),
        (lambda faults: faults.drop(times=-1), "faults.drop: times: expected a whole number of at least 0, got -1"),
    ],
)
def test_a_wrong_switch_is_told(switch: Callable[[Faults], Fault], said: str) -> None:
    with pytest.raises(predictd.ConfigError, match=said.replace("(", r"\(")):
        switch(FakeServer().faults)


def test_a_client_without_retries_sends_a_request_once() -> None:
    with in_process(FakeModel("m", inputs=("float32", (None, 2)), outputs=("float32", (None, 1)))) as server:
        client = predictd.Client(timeout_ms=4321, max_in_flight=3)
        once = client.without_retries()
        with server.faults.overload(retry_after_ms=1, times=1):
            with pytest.raises(predictd.OverloadedError):
                once.predict("m", [[1.0, 2.0]])
            server.assert_asked("m", times=1)
        with server.faults.overload(retry_after_ms=1, times=1):
            assert client.predict("m", [[1.0, 2.0]]).outputs.shape == (1, 1)
        assert once is client.without_retries() is once.without_retries()
        assert (once.timeout_ms, once.max_in_flight, once.endpoints) == (4321, 3, client.endpoints)
        assert pickle.loads(pickle.dumps(once)).asking.retries is None
