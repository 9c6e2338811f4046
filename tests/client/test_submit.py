"""Futures: one background thread, a bounded window, cancelling, forks and ends."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

import predictd
from predictd_proto.messages import CancelRequest, Hello, PredictRequest
from tests.client.fake_process import run_program
from tests.client.fake_server import FakeServer, answer, refuse, silent
from tests.client.test_processes import PROLOGUE
from tests.waiting import wait_until

ROWS = np.ones((2, 4), np.float32)
BOUND_S = 60.0


def rows_of(value: float) -> np.ndarray:
    return np.full((1, 4), value, np.float32)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("predictd-")]


@pytest.fixture
def client(endpoint: str) -> Iterator[predictd.Client]:
    with predictd.Client(endpoint, timeout_ms=20_000) as made:
        yield made


def test_a_thousand_futures_get_their_own_answers_over_a_few_connections(
    server: FakeServer, client: predictd.Client
) -> None:
    futures = [client.submit("double", rows_of(n)) for n in range(1000)]
    assert [future.result().outputs[0, 0] for future in futures] == [2.0 * n for n in range(1000)]
    assert isinstance(futures[0], concurrent.futures.Future)
    assert len(server.of(Hello)) <= 4


def test_many_threads_share_one_dispatcher(server: FakeServer, client: predictd.Client) -> None:
    def call(caller: int) -> bool:
        futures = [client.submit("double", rows_of(caller * 100 + n)) for n in range(50)]
        return all(f.result().outputs[0, 0] == 2 * (caller * 100 + n) for n, f in enumerate(futures))

    with concurrent.futures.ThreadPoolExecutor(8) as callers:
        assert all(callers.map(call, range(8)))
    assert threads().count("predictd-dispatcher") == 1


def test_the_thread_ends_with_the_client(server: FakeServer, endpoint: str) -> None:
    client = predictd.Client(endpoint)
    assert "predictd-dispatcher" not in threads()
    client.submit("double", ROWS).result()
    client.close()
    assert "predictd-dispatcher" not in threads()
    client.submit("double", ROWS).result()
    del client
    gc.collect()
    wait_until(lambda: "predictd-dispatcher" not in threads())


def test_what_was_submitted_is_finished_when_the_client_is_closed_or_dropped(server: FakeServer, endpoint: str) -> None:
    go = threading.Event()
    server.replies = [lambda request: [answer(request)] if go.wait(BOUND_S) else []]
    client = predictd.Client(endpoint)
    futures = [client.submit("double", rows_of(1))]
    closing, dispatchers = threading.Thread(target=client.close), client._dispatchers
    closing.start()
    wait_until(lambda: not dispatchers)
    futures.append(client.submit("double", rows_of(2)))
    del client
    gc.collect()
    go.set()
    closing.join(BOUND_S)
    assert futures[0].done()
    assert [future.result().outputs[0, 0] for future in futures] == [2, 4]
    wait_until(lambda: "predictd-dispatcher" not in threads())


def test_a_cancelled_future_is_cancelled_at_the_server(server: FakeServer, client: predictd.Client) -> None:
    server.replies = [silent, lambda request: [answer(request)]]
    future = client.submit("double", ROWS)
    server.wait_for(PredictRequest)
    assert future.cancel()
    assert future.cancel()
    (cancelled,) = server.wait_for(CancelRequest)
    assert cancelled.id == server.of(PredictRequest)[0].id
    done, _ = concurrent.futures.wait([future], timeout=BOUND_S)
    assert done == {future}
    with pytest.raises(concurrent.futures.CancelledError):
        future.result()
    after = client.submit("double", ROWS)
    assert after.result().outputs.sum() == 16
    assert not after.cancel()
    assert len(server.of(Hello)) == 1


def test_what_was_submitted_may_be_given_up_at_once(server: FakeServer, client: predictd.Client) -> None:
    server.replies = [silent, silent, lambda request: [answer(request)]]
    futures = [client.submit("double", ROWS, timeout_ms=3_600_000) for _ in range(2)]
    server.wait_for(PredictRequest, 2)
    client.give_up(BOUND_S)
    assert all(future.cancelled() for future in futures)
    assert "predictd-dispatcher" not in threads()
    assert len(server.wait_for(CancelRequest, 2)) == 2
    assert client.submit("double", ROWS).result().outputs.sum() == 16


def test_cancelling_at_any_moment_leaks_no_place(server: FakeServer, endpoint: str) -> None:
    with predictd.Client(endpoint, timeout_ms=20_000, max_in_flight=4) as client:
        for round_ in range(200):
            future = client.submit("double", rows_of(round_))
            if round_ % 3:
                time.sleep(round_ % 5 / 10_000)
            future.cancel()
        assert [p.outputs[0, 0] for p in client.map("double", map(rows_of, range(20)))] == [2 * n for n in range(20)]
        wait_until(lambda: not len(client._dispatcher()._places))


def test_a_full_window_is_waited_for_within_the_calls_own_time(server: FakeServer, endpoint: str) -> None:
    server.replies = [silent]
    with predictd.Client(endpoint, timeout_ms=20_000, max_in_flight=2) as client:
        held = [client.submit("double", ROWS) for _ in range(2)]
        with pytest.raises(predictd.DeadlineExceededError, match="2 requests of this client are in flight"):
            client.submit("double", ROWS, timeout_ms=50)
        server.wait_for(PredictRequest, 2)
        server.replies = [lambda request: [answer(request)]]
        held[0].cancel()
        assert client.submit("double", ROWS).result().outputs.sum() == 16
        held[1].cancel()


def test_the_futures_own_deadline(server: FakeServer, client: predictd.Client) -> None:
    server.replies = [lambda request: [answer(request)], silent]
    client.submit("double", ROWS).result()  # connected: what follows is sent at once
    future = client.submit("double", ROWS, timeout_ms=300)
    with pytest.raises(TimeoutError if hasattr(asyncio, "Runner") else concurrent.futures.TimeoutError):
        future.result(timeout=0.001)
    with pytest.raises(predictd.DeadlineExceededError, match="connected, but no answer came"):
        future.result()
    server.wait_for(CancelRequest)


def test_what_goes_wrong_is_the_futures_exception(server: FakeServer, client: predictd.Client) -> None:
    wrong = client.submit("double", np.ones((2, 5), np.float32))
    unknown = client.submit("nonsense", ROWS)
    right = client.submit("double", ROWS)
    assert isinstance(wrong.exception(), predictd.TensorMismatchError)
    assert isinstance(unknown.exception(), predictd.ModelNotFoundError)
    assert right.result().outputs.sum() == 16
    with pytest.raises(predictd.ConfigError, match="timeout_ms"):
        client.submit("double", ROWS, timeout_ms=-1)
    server.replies = [refuse("overloaded", retry_after_ms=1), lambda request: [answer(request)]]
    assert client.submit("double", ROWS).result().outputs.sum() == 16


def test_callbacks_may_submit_though_the_window_is_full(server: FakeServer, endpoint: str) -> None:
    with predictd.Client(endpoint, timeout_ms=20_000, max_in_flight=1) as client:
        following: list[concurrent.futures.Future[predictd.Prediction]] = []
        is_there = threading.Event()

        def go_on(done: object) -> None:
            following.extend(client.submit("double", rows_of(n)) for n in range(5))
            is_there.set()

        client.submit("double", ROWS).add_done_callback(go_on)
        assert is_there.wait(BOUND_S)
        assert [future.result().outputs[0, 0] for future in following] == [0, 2, 4, 6, 8]


def test_a_future_may_be_awaited(server: FakeServer, client: predictd.Client) -> None:
    async def main() -> float:
        return float((await asyncio.wrap_future(client.submit("double", ROWS))).outputs.sum())

    assert asyncio.run(main()) == 16


def test_a_child_makes_its_own_and_the_parents_futures_stay_the_parents(server: FakeServer, endpoint: str) -> None:
    go = threading.Event()
    server.replies = [
        lambda request: [answer(request)],
        lambda request: [answer(request)] if go.wait(BOUND_S) else [],
        lambda request: [answer(request)],
    ]
    program = f"""{PROLOGUE}
assert client.submit("double", rows).result().outputs.sum() == 16
waiting = client.submit("double", rows)
def child():
    del globals()["waiting"]
    gc.collect()
    new = client.submit("double", rows)
    sys.stdout.write("asked\\n"); sys.stdout.flush()
    return new.result().outputs.sum() == 16 and in_child(grandchild) == 0
def grandchild():
    return list(client.map("double", [rows] * 3))[2].outputs.sum() == 16
codes = []
threading.Thread(target=lambda: codes.append(in_child(child))).start()
assert waiting.result().outputs.sum() == 16
assert client.submit("double", rows).result().outputs.sum() == 16
while not codes: pass
assert codes == [0], codes
"""
    releasing = threading.Timer(1.0, go.set)
    releasing.start()
    ran = run_program(program, endpoint)
    releasing.join()
    assert ran.returncode == 0, ran.stderr


def test_a_program_ends_though_its_thread_was_stopped_at_a_bad_moment(server: FakeServer, endpoint: str) -> None:
    program = f"""{PROLOGUE}
client.submit("double", rows).result()
holder = threading.Thread(target=client._dispatcher()._lock.acquire)
holder.start()
holder.join()
"""
    ran = run_program(program, endpoint)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_future_whose_thread_is_held_up_is_not_waited_for_in_vain(
    server: FakeServer, client: predictd.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.replies = [silent]
    monkeypatch.setattr("predictd.in_flight.prediction_future._GRACE_S", 0.01)
    future = client.submit("double", ROWS, timeout_ms=10_000)
    server.wait_for(PredictRequest)
    monkeypatch.setattr(future.pending.deadline, "_ends_s", 0.0)  # type: ignore[attr-defined]
    with pytest.raises(predictd.DeadlineExceededError, match="is held up"):
        future.result()
    future.cancel()


def test_map_is_ordered_lazy_and_bounded(server: FakeServer, client: predictd.Client) -> None:
    taken: list[int] = []

    def endless() -> Iterator[np.ndarray]:
        while True:
            taken.append(len(taken))
            yield rows_of(taken[-1])

    answers = client.map("double", endless(), window=8)
    assert not taken
    for got in range(100):
        assert next(answers).outputs[0, 0] == 2 * got
        assert len(taken) <= got + 1 + 8
    answers.close()
    with pytest.raises(predictd.ConfigError, match="window"):
        client.map("double", [], window=0)


def test_leaving_a_map_cancels_what_is_in_flight(server: FakeServer, client: predictd.Client) -> None:
    server.replies = [lambda request: [answer(request)], silent]
    answers = client.map("double", map(rows_of, range(5)), window=5)
    assert next(answers).outputs[0, 0] == 0
    server.wait_for(PredictRequest, 5)
    answers.close()
    assert len(server.wait_for(CancelRequest, 4)) == 4


def test_an_error_in_a_map_comes_in_its_place(server: FakeServer, client: predictd.Client) -> None:
    inputs = [rows_of(0), rows_of(1), np.ones((1, 5), np.float32), rows_of(3)]
    got = []
    with pytest.raises(predictd.TensorMismatchError):  # noqa: PT012
        for prediction in client.map("double", inputs):
            got.append(prediction.outputs[0, 0])
    assert got == [0, 2]
