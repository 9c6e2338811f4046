"""Every way in which a caller stops waiting takes its work out of the server's queue while the engine is busy."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import pytest

import predictd
from predictd_proto import errors
from tests.daemon_process import clean_environment
from tests.server.pump_bench import PumpBench, running_pump

pytestmark = pytest.mark.integration

ROW = np.ones((1, 3), np.float32)
#: Time enough for a client that knows the model to send its request, also on a busy machine.
SHORT_MS = 1500.0


@pytest.fixture
def pump() -> Iterator[PumpBench]:
    """A server whose engine is busy until the gate opens."""
    with running_pump() as pump:
        pump.hold()
        yield pump


def ended(pump: PumpBench) -> int:
    """Requests that ended without an answer; which of the ways is a race between client and server."""
    counters = pump.counters
    return counters.requests_cancelled_total + counters.requests_expired_total + counters.requests_released_total


def check_usable(pump: PumpBench, client: predictd.Client) -> None:
    """Check that the next answer is the next call's own."""
    pump.open_gate()
    for factor in (2, 3, 5):
        np.testing.assert_array_equal(client.predict("m", factor * ROW).outputs, 2 * factor * ROW)


def test_a_call_whose_time_is_up(pump: PumpBench) -> None:
    with predictd.Client(pump.endpoint, retries=None) as client:
        client.metadata("m")
        with pytest.raises((errors.DeadlineExceededError, errors.ExpiredInQueueError)):
            client.predict("m", ROW, timeout_ms=SHORT_MS)
        pump.wait_queued(0)
        assert ended(pump) == 1
        check_usable(pump, client)


def test_a_call_whose_time_is_up_while_many_others_wait(pump: PumpBench) -> None:
    results: list[Any] = []
    with predictd.Client(pump.endpoint, retries=None) as client:
        calls = [
            threading.Thread(target=lambda n=n: results.append((n, client.predict("m", n * ROW).outputs)))
            for n in range(1, 9)
        ]
        for call in calls:
            call.start()
        pump.wait_queued(8)
        with pytest.raises((errors.DeadlineExceededError, errors.ExpiredInQueueError)):
            client.predict("m", ROW, timeout_ms=SHORT_MS)
        pump.wait_for(lambda: ended(pump) == 1)
        assert pump.core.waiting_requests == 8
        pump.open_gate()
        for call in calls:
            call.join()
        for number, outputs in results:
            np.testing.assert_array_equal(outputs, 2 * number * ROW)
        assert len(results) == 8


PROGRAM = """
import signal, sys
import numpy as np
import predictd

class TimeIsUp(Exception):
    pass

def raise_it(number, frame):
    raise TimeIsUp

signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGALRM, raise_it)
row = np.ones((1, 3), np.float32)
client = predictd.Client(sys.argv[1], retries=None)
model = predictd.RemoteModel("m", endpoint=sys.argv[1])
calls = {
    "predict": lambda: client.predict("m", row),
    "model": lambda: model.predict(np.ones((64, 3), np.float32), batch_size=4, verbose=0),
    "map": lambda: list(client.map("m", [row] * 8, window=3)),
}
try:
    calls[sys.argv[2]]()
except (KeyboardInterrupt, TimeIsUp) as error:
    print(type(error).__name__, flush=True)
print([float(client.predict("m", factor * row).outputs[0, 0]) for factor in (2, 3)], flush=True)
"""


@pytest.mark.parametrize("call", ["predict", "model", "map"])
@pytest.mark.parametrize(("number", "said"), [(signal.SIGINT, "KeyboardInterrupt"), (signal.SIGALRM, "TimeIsUp")])
def test_a_process_whose_call_a_signal_interrupts(pump: PumpBench, call: str, number: int, said: str) -> None:
    with client_process(PROGRAM, pump.endpoint, call) as (process, output):
        pump.wait_for(lambda: pump.core.waiting_requests > 0)
        os.kill(process.pid, number)
        assert output.readline().strip() == said
        # The next call of the same client is all that waits now.
        pump.wait_for(lambda: pump.core.waiting_requests == 1 and ended(pump) == pump.counters.requests_total - 2)
        assert pump.counters.requests_expired_total == 0
        pump.open_gate()
        assert output.readline().strip() == "[4.0, 6.0]"
        assert process.wait(60) == 0


class client_process:  # noqa: N801  (a context manager)
    """A program in a process of its own, which ends with the block."""

    def __init__(self, program: str, *arguments: str) -> None:
        command = [sys.executable, "-c", program, *arguments]
        self.process = subprocess.Popen(command, env=clean_environment(), stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> tuple[subprocess.Popen[str], IO[str]]:
        assert self.process.stdout is not None
        return self.process, self.process.stdout

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


LEAVER = """
import os, sys, threading, time
import numpy as np
import predictd
row = np.ones((1, 3), np.float32)
client = predictd.Client(sys.argv[1], retries=None)
if sys.argv[2] == "threads":
    for _ in range(12):
        threading.Thread(target=client.predict, args=("m", row), daemon=True).start()
else:
    futures = [client.submit("m", row) for _ in range(12)]
sys.stdin.readline()
if sys.argv[3] == "leaves":
    os._exit(0)
sys.exit(0)
"""


@pytest.mark.parametrize("way", ["threads", "submit"])
@pytest.mark.parametrize("end", ["is killed", "leaves", "returns"])
def test_a_process_that_ends_with_calls_in_progress(pump: PumpBench, way: str, end: str) -> None:
    with predictd.Client(pump.endpoint) as client:
        other = client.submit("m", 7 * ROW)
        command = [sys.executable, "-c", LEAVER, pump.endpoint, way, end]
        leaver = subprocess.Popen(command, env=clean_environment(), stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert leaver.stdin is not None
        try:
            pump.wait_queued(13)
            if end == "is killed":
                leaver.kill()
            else:
                leaver.stdin.write(b"\n")
                leaver.stdin.flush()
            leaver.wait(60)
            pump.wait_queued(1)
            assert ended(pump) == 12
        finally:
            leaver.kill()
            leaver.wait()
            leaver.stdin.close()
        pump.open_gate()
        np.testing.assert_array_equal(other.result().outputs, 14 * ROW)


def test_futures_that_are_cancelled(pump: PumpBench) -> None:
    with predictd.Client(pump.endpoint) as client:
        futures = [client.submit("m", number * ROW) for number in range(20)]
        pump.wait_queued(20)
        for future in futures[::2]:
            assert future.cancel()
        pump.wait_queued(10)
        assert pump.counters.requests_cancelled_total == 10
        pump.open_gate()
        for number, future in enumerate(futures):
            if number % 2:
                np.testing.assert_array_equal(future.result().outputs, 2 * number * ROW)
        check_usable(pump, client)


def test_a_loop_over_map_that_is_left(pump: PumpBench) -> None:
    with predictd.Client(pump.endpoint) as client:
        client.metadata("m")
        answers = client.map("m", [ROW] * 100, window=10, timeout_ms=SHORT_MS)
        with pytest.raises((errors.DeadlineExceededError, errors.ExpiredInQueueError)):
            list(answers)
        pump.wait_queued(0)
        check_usable(pump, client)


async def queued(pump: PumpBench, count: int) -> None:
    """Wait without holding the event loop up."""
    async with asyncio_timeout(60):
        while pump.core.waiting_requests != count:
            await asyncio.sleep(0.005)


class asyncio_timeout:  # noqa: N801  (asyncio.timeout came with Python 3.11)
    """Cancel the task after some seconds, as `asyncio.timeout` does."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.handle = asyncio.get_running_loop().call_later(self.seconds, task.cancel)

    async def __aexit__(self, *error: object) -> None:
        self.handle.cancel()


def test_tasks_that_are_cancelled(pump: PumpBench) -> None:
    async def main() -> None:
        async with predictd.AsyncClient(pump.endpoint) as client:
            tasks = [asyncio.ensure_future(client.predict("m", number * ROW)) for number in range(20)]
            await queued(pump, 20)
            for task in tasks[::2]:
                task.cancel()
            await queued(pump, 10)
            assert pump.counters.requests_cancelled_total == 10
            pump.open_gate()
            for number, answer in enumerate(await asyncio.gather(*tasks, return_exceptions=True)):
                if number % 2:
                    assert isinstance(answer, predictd.Prediction), answer
                    np.testing.assert_array_equal(answer.outputs, 2 * number * ROW)
                else:
                    assert isinstance(answer, asyncio.CancelledError)
            np.testing.assert_array_equal((await client.predict("m", 3 * ROW)).outputs, 6 * ROW)

    asyncio.run(main())


def test_coroutines_whose_time_is_up_by_either_clock(pump: PumpBench) -> None:
    async def main() -> None:
        async with predictd.AsyncClient(pump.endpoint, retries=None) as client:
            await client.metadata("m")
            with pytest.raises((errors.DeadlineExceededError, errors.ExpiredInQueueError)):
                await client.predict("m", ROW, timeout_ms=SHORT_MS)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.predict("m", ROW), SHORT_MS / 1000)
            await queued(pump, 0)
            assert ended(pump) == 2
            pump.open_gate()
            np.testing.assert_array_equal((await client.predict("m", 3 * ROW)).outputs, 6 * ROW)

    asyncio.run(main())


def test_an_asynchronous_client_that_is_closed_with_calls_in_progress(pump: PumpBench) -> None:
    async def main() -> None:
        client = predictd.AsyncClient(pump.endpoint)
        tasks = [asyncio.ensure_future(client.predict("m", ROW)) for _ in range(5)]
        await queued(pump, 5)
        await client.aclose()
        await queued(pump, 0)
        for error in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(error, errors.PredictdError), error

    asyncio.run(main())
