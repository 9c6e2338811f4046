"""The asyncio client against a server with switches: answers, cancelling, deadlines and ends."""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import sys
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

import predictd
from predictd.in_flight.channel import MOST_IN_FLIGHT
from predictd_proto.messages import CancelRequest, Hello, PredictRequest
from tests.client.fake_server import FakeServer, answer, refuse, silent

ROWS = np.ones((2, 4), np.float32)
BOUND_S = 60.0


def run(main: Coroutine[Any, Any, Any], *, bound_s: float = BOUND_S) -> Any:
    """Run a coroutine on a fresh loop, for no longer than a hung test may take."""

    async def bounded() -> Any:
        return await asyncio.wait_for(main, bound_s)

    return asyncio.run(bounded())


async def until(is_so: Any) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(BOUND_S) if sys.version_info >= (3, 11) else _Forever():
        while not is_so():
            await asyncio.sleep(0.002)


class _Forever:
    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *exception: object) -> None: ...


def rows_of(value: float) -> np.ndarray:
    return np.full((1, 4), value, np.float32)


def job_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "predictd-job"]


def test_a_thousand_at_once_get_their_own_answers_over_a_few_connections(server: FakeServer, endpoint: str) -> None:
    ticks: list[float] = []

    async def tick() -> None:
        while True:
            await asyncio.sleep(0)
            ticks.append(1)

    async def main() -> None:
        async with predictd.AsyncClient(endpoint) as client:
            ticking = asyncio.create_task(tick())
            predictions = await asyncio.gather(*(client.predict("double", rows_of(n)) for n in range(1000)))
            ticking.cancel()
            assert [p.outputs[0, 0] for p in predictions] == [2.0 * n for n in range(1000)]
            assert predictions[0].receipt.version == 1
            predictions[0].outputs[0, 0] = 7  # its own memory

    run(main())
    assert len(ticks) > 10
    assert len(server.of(Hello)) <= 4


def test_a_cancelled_call_is_cancelled_at_the_server_and_harms_no_other(server: FakeServer, endpoint: str) -> None:
    server.replies = [silent, lambda request: [answer(request)]]

    async def main() -> None:
        async with predictd.AsyncClient(endpoint) as client:
            dropped = asyncio.create_task(client.predict("double", rows_of(1)))
            await until(lambda: server.of(PredictRequest))
            others = [asyncio.create_task(client.predict("double", rows_of(n))) for n in range(5)]
            dropped.cancel()
            with pytest.raises(asyncio.CancelledError):
                await dropped
            assert [(await other).outputs[0, 0] for other in others] == [0, 2, 4, 6, 8]
            await until(lambda: server.of(CancelRequest))

    run(main())
    (cancelled,) = server.of(CancelRequest)
    assert cancelled.id == server.of(PredictRequest)[0].id
    assert len(server.of(Hello)) == 1


def test_cancelled_while_it_connects(endpoint: str) -> None:
    async def main() -> None:
        async with predictd.AsyncClient(endpoint) as client:
            call = asyncio.create_task(client.predict("double", ROWS))
            await asyncio.sleep(0.02)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    run(main())
    assert not job_threads()


@pytest.mark.parametrize("patience", range(12))
def test_cancelled_at_the_moment_the_answer_arrives(server: FakeServer, endpoint: str, patience: int) -> None:
    """Whatever wins, nothing is lost, mixed up or left behind."""

    async def main() -> None:
        async with predictd.AsyncClient(endpoint) as client:
            await client.predict("double", ROWS)
            for round_ in range(10):
                call = asyncio.create_task(client.predict("double", rows_of(round_)))
                beside = asyncio.create_task(client.predict("double", rows_of(100 + round_)))
                for _ in range(patience):
                    await asyncio.sleep(0)
                call.cancel()
                with suppress(asyncio.CancelledError):
                    assert (await call).outputs[0, 0] == 2 * round_
                assert (await beside).outputs[0, 0] == 2 * (100 + round_)
            assert client._session is not None
            assert client._session._exchange.is_idle

    run(main())
    assert len(server.of(Hello)) == 1


def test_an_answer_that_came_before_the_cancel_is_dropped_quietly(server: FakeServer, endpoint: str) -> None:
    async def main() -> None:
        async with predictd.AsyncClient(endpoint) as client:
            await client.predict("double", ROWS)
            session = client._session
            assert session is not None
            while True:
                call = asyncio.create_task(client.predict("double", ROWS))
                await asyncio.sleep(0)
                if not call.done():  # else the answer was there as soon as the request was sent
                    break
            # The whole answer is taken in, and the task is cancelled before it may run again.
            while not session._exchange.is_idle:
                session._exchange.turn()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert (await client.predict("double", ROWS)).outputs.sum() == 16

    run(main())
    assert server.of(CancelRequest) == []


def test_wait_for_and_the_calls_own_deadline(server: FakeServer, endpoint: str) -> None:
    server.replies = [lambda request: [answer(request)], silent]

    async def main() -> None:
        async with predictd.AsyncClient(endpoint) as client:
            await client.predict("double", ROWS)  # connected: what follows is sent at once
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.predict("double", ROWS), 0.3)
            with pytest.raises(predictd.DeadlineExceededError, match="connected, but no answer came"):
                await client.predict("double", ROWS, timeout_ms=300)
            server.wait_for(CancelRequest, 2)
            server.replies = [lambda request: [answer(request)]]
            assert (await client.predict("double", ROWS)).outputs.sum() == 16

    run(main())
    assert len(server.of(Hello)) == 1


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio has no task groups yet")
def test_a_task_group_that_fails_cancels_its_calls(server: FakeServer, endpoint: str) -> None:
    server.replies = [silent, silent, lambda request: [answer(request)]]

    async def main() -> None:
        async with predictd.AsyncClient(endpoint) as client:

            async def fail_beside_two_others() -> None:
                async with asyncio.TaskGroup() as group:
                    for _ in range(2):
                        group.create_task(client.predict("double", ROWS))
                    await until(lambda: len(server.of(PredictRequest)) == 2)
                    await client.predict("double", np.ones((2, 5), np.float32))

            with pytest.raises(ExceptionGroup) as raised:  # noqa: F821
                await fail_beside_two_others()
            assert raised.group_contains(predictd.TensorMismatchError)
            server.wait_for(CancelRequest, 2)
            assert (await client.predict("double", ROWS)).outputs.sum() == 16

    run(main())


def test_requests_beyond_the_window_wait_their_turn(server: FakeServer, endpoint: str) -> None:
    server.replies = [silent]

    async def main() -> None:
        async with predictd.AsyncClient(endpoint, max_in_flight=MOST_IN_FLIGHT) as client:
            first = [asyncio.create_task(client.predict("double", rows_of(n))) for n in range(MOST_IN_FLIGHT)]
            await asyncio.to_thread(server.wait_for, PredictRequest, MOST_IN_FLIGHT)
            beyond = (client.predict("double", ROWS, timeout_ms=200) for _ in range(36))
            errors = await asyncio.gather(*beyond, return_exceptions=True)
            assert all(isinstance(error, predictd.DeadlineExceededError) for error in errors)
            assert all("before the request was sent" in str(error) for error in errors)
            assert len(server.of(PredictRequest)) == MOST_IN_FLIGHT
            for task in first:
                task.cancel()
            await asyncio.gather(*first, return_exceptions=True)

    run(main())


def test_nobody_answers(endpoint: str) -> None:
    async def main() -> None:
        async with predictd.AsyncClient(endpoint, connect_timeout_ms=200) as client:
            errors = await asyncio.gather(*(client.predict("m", ROWS) for _ in range(3)), return_exceptions=True)
            assert [type(error) for error in errors] == [predictd.ServerUnavailableError] * 3

    run(main())


def test_errors_are_those_of_the_blocking_client(server: FakeServer, endpoint: str) -> None:
    async def main() -> None:
        async with predictd.AsyncClient(endpoint) as client:
            with pytest.raises(predictd.ModelNotFoundError, match="served: 'column'"):
                await client.predict("nonsense", ROWS)
            with pytest.raises(predictd.VersionNotFoundError):
                await client.predict("double", ROWS, version=7)
            server.replies = [refuse("prediction_failed"), lambda request: [answer(request)]]
            with pytest.raises(predictd.PredictionError):
                await client.predict("double", ROWS)
            server.replies = [refuse("overloaded", retry_after_ms=1), lambda request: [answer(request)]]
            assert (await client.predict("double", ROWS)).outputs.sum() == 16
            with pytest.raises(predictd.ConfigError, match="timeout_ms"):
                await client.predict("double", ROWS, timeout_ms=0)

    run(main())


def test_the_first_of_two_endpoints_is_down(server: FakeServer, endpoint: str, folder: str) -> None:
    async def main() -> None:
        async with predictd.AsyncClient([f"ipc://{folder}/nobody.sock", endpoint]) as client:
            predictions = await asyncio.gather(*(client.predict("double", rows_of(n)) for n in range(50)))
            assert [p.outputs[0, 0] for p in predictions] == [2.0 * n for n in range(50)]
            assert (await client.status()).is_ready

    run(main())


def test_the_other_questions(server: FakeServer, endpoint: str) -> None:
    async def main() -> None:
        client = predictd.AsyncClient(endpoint)
        assert (await client.wait_until_ready(model="double")).is_ready
        assert (await client.status()).server_id == "first"
        assert [metadata.name for metadata in await client.models("pair")] == ["pair"]
        assert (await client.metadata("double")).version == 1
        with pytest.raises(predictd.ModelNotFoundError):
            await client.models("nonsense")
        await client.close()

    run(main())


def test_a_cancelled_question_ends_its_thread(server: FakeServer, endpoint: str) -> None:
    server.control_is_silent = True

    async def main() -> None:
        async with predictd.AsyncClient(endpoint) as client:
            asking = asyncio.create_task(client.status())
            await until(lambda: server.asked)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            await until(lambda: not job_threads())

    run(main())


def test_closing_fails_what_is_in_progress_and_a_later_call_works(server: FakeServer, endpoint: str) -> None:
    server.replies = [silent, lambda request: [answer(request)]]

    async def main() -> None:
        client = predictd.AsyncClient(endpoint)
        call = asyncio.create_task(client.predict("double", ROWS))
        await until(lambda: server.of(PredictRequest))
        await client.aclose()
        with pytest.raises(predictd.RequestCancelledError, match="closed"):
            await call
        server.wait_for(CancelRequest)
        assert (await client.predict("double", ROWS)).outputs.sum() == 16
        await client.aclose()
        await client.aclose()

    run(main())


def test_closing_fails_questions_in_progress_too(server: FakeServer, endpoint: str) -> None:
    server.control_is_silent = True

    async def main() -> None:
        client = predictd.AsyncClient(endpoint)
        asking = asyncio.create_task(client.status())
        await until(lambda: server.asked)
        await client.aclose()
        assert not job_threads()
        with pytest.raises(predictd.RequestCancelledError, match="closed"):
            await asking

    run(main())


def open_files() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
        except OSError:
            continue
    return found


def test_nothing_is_left_after_closing(server: FakeServer, endpoint: str) -> None:
    async def main() -> None:
        async with predictd.AsyncClient(endpoint) as client:
            await client.predict("double", ROWS)  # the process's zmq context stays
        gc.collect()
        before = open_files()
        async with predictd.AsyncClient(endpoint) as client:
            await asyncio.gather(*(client.predict("double", rows_of(n)) for n in range(200)))
            await client.metadata("double")
        assert not job_threads()
        # libzmq's own thread closes them.
        await until(lambda: len(open_files()) <= len(before))

    run(main())


def test_a_client_that_is_dropped_leaves_nothing_on_the_loop(server: FakeServer, endpoint: str) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        for _ in range(3):
            client = predictd.AsyncClient(endpoint)
            await client.predict("double", ROWS)
            del client
            gc.collect()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(loop._selector.get_map()) == 1  # the loop's own

    run(main())


def test_it_pickles_and_shows_as_its_arguments() -> None:
    client = predictd.AsyncClient("tcp://127.0.0.1:7000", timeout_ms=1500, max_in_flight=9)
    copy = pickle.loads(pickle.dumps(client))
    assert copy.__reduce__() == client.__reduce__()
    assert repr(copy) == "<predictd.AsyncClient tcp://127.0.0.1:7000, time-out 1.5 s>"
    assert copy.endpoints == ("tcp://127.0.0.1:7000",)
    with pytest.raises(predictd.ConfigError, match="max_in_flight: expected a whole number"):
        predictd.AsyncClient(max_in_flight=0)
