"""Large inputs and outputs pass through in a bounded amount of memory, and end well when they are interrupted."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import predictd
from predictd.rows import chunks
from predictd_proto.messages import CancelRequest, PredictRequest, PredictResponse, Receipt
from predictd_proto.tensors import Tensor
from tests.client.fake_process import run_program
from tests.client.fake_server import FakeServer, answer, model, signature, silent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

WIDTH = 4096
ROW_BYTES = 4 * WIDTH
NARROW, WIDE = ("float32", (None, 1)), ("float32", (None, WIDTH))
#: Large rows in, a number out; and the other way round.
SUMS = model("sums", signature({"x": WIDE}, {"y": NARROW}), batch_sizes=(1, 64))
SPREAD = model("spread", signature({"x": NARROW}, {"y": WIDE}), batch_sizes=(1, 64))

#: Two chunks under way, each once in a buffer and once on its way out; an answer coming in; threads' stacks.
ROOM_BYTES = 8 * chunks.MOST_CHUNK_BYTES

#: Everything that a process allocates is counted here, file mappings that are only read are not: one byte more than
#: the limit is a MemoryError. That is exact, where a peak of resident memory would have to be caught.
LIMITED = """
import resource, sys
import numpy as np
import predictd
endpoint, room_bytes = sys.argv[1], int(sys.argv[2])
def limited(model, first):
    model.predict(first)  # connections and threads
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmData")]
    limit = int(line.split()[1]) * 1024 + room_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        bytearray(2 * room_bytes)
    except MemoryError:
        return model
    raise SystemExit("this system doesn't limit data")
"""


def echo(request: PredictRequest) -> PredictResponse:
    """The first number of each row, as wide as the model's answer is."""
    width = WIDTH if request.model == "spread" else 1
    first = request.tensors[0].view()[:, :1]
    outputs = Tensor.from_array("y", np.ascontiguousarray(np.broadcast_to(first, (len(first), width))))
    receipt = Receipt(model=request.model, version=1, execute_ms=0.001, batch_rows=len(first))
    return PredictResponse(id=request.id, tensors=(outputs,), receipt=receipt)


@pytest.fixture
def forgetful(server: FakeServer) -> FakeServer:
    """A server that doesn't keep what it has seen."""

    def reply(request: PredictRequest) -> list[Any]:
        server.seen.clear()
        return [echo(request)]

    server.models, server.replies = [SUMS, SPREAD], [reply]
    return server


def limited(server: FakeServer, program: str, room_bytes: int, *arguments: object) -> None:
    ran = run_program(LIMITED + program, str(server.endpoint), str(room_bytes), *map(str, arguments), timeout_s=300)
    assert ran.returncode == 0, ran.stderr + ran.stdout


def test_rows_in_a_file_never_sit_in_memory(forgetful: FakeServer, tmp_path: Path) -> None:
    file_bytes = 4 * ROOM_BYTES
    # Sparse, but where the directory is memory itself, holes that are read become pages.
    free = os.statvfs(tmp_path)
    if free.f_bavail * free.f_frsize < file_bytes:
        pytest.skip(f"{tmp_path} has less than {file_bytes >> 20} MiB free")
    path, rows = tmp_path / "rows", file_bytes // ROW_BYTES
    with path.open("wb") as file:
        file.truncate(rows * ROW_BYTES)
        file.seek((rows - 1) * ROW_BYTES)
        file.write(np.float32(7).tobytes())
    limited(
        forgetful,
        """
x = np.memmap(sys.argv[3], np.float32, "r").reshape(-1, 4096)
y = limited(predictd.RemoteModel("sums", endpoint=endpoint), x[:100]).predict(x)
assert y.shape == (len(x), 1) and y[-1] == 7 and not y[:-1].any(), y
""",
        ROOM_BYTES,
        path,
    )


def test_batches_of_a_generator_never_gather(forgetful: FakeServer) -> None:
    limited(
        forgetful,
        """
def batches():
    for number in range(500):
        yield np.full((64, 4096), number, np.float64)  # 1 GB in all, cast on the way
x = np.zeros((64, 4096))
y = limited(predictd.RemoteModel("sums", endpoint=endpoint), x).predict(batches())
np.testing.assert_array_equal(y[:, 0], np.repeat(np.arange(500), 64))
""",
        ROOM_BYTES,
    )


@pytest.mark.parametrize("is_known", [True, False], ids=["array", "generator"])
def test_large_outputs_are_joined_in_place(forgetful: FakeServer, *, is_known: bool) -> None:
    output_bytes = 256 << 20
    limited(
        forgetful,
        """
x = np.arange(int(sys.argv[3]), dtype=np.float32)[:, None]
model = limited(predictd.RemoteModel("spread", endpoint=endpoint), x[:100])
y = model.predict(x if sys.argv[4] == "True" else (part for part in np.array_split(x, 256)))
assert y.shape == (len(x), 4096)
assert (y[:, 0] == x[:, 0]).all() and (y[:, -1] == x[:, 0]).all()
""",
        # Room to grow by a quarter, not for the whole a second time.
        int(output_bytes * 1.25) + ROOM_BYTES,
        output_bytes // ROW_BYTES,
        is_known,
    )


MANY = np.random.default_rng(7).normal(size=(500, 4)).astype(np.float32)


def test_few_chunks_are_taken_from_a_source_before_they_are_answered(
    server: FakeServer, client: predictd.Client
) -> None:
    given: list[int] = []

    def batches() -> Iterator[np.ndarray]:
        for number in range(20):
            answered = len(server.of(PredictRequest))
            given.append(number)
            # Of those given so far all but a window were answered, and an answered one was seen.
            assert number - answered <= chunks.WINDOW
            yield MANY[:8]

    assert predictd.RemoteModel("double", client=client).predict(batches()).shape == (160, 4)
    assert given == list(range(20))


class BrokenSourceError(Exception):
    """A source's own trouble."""


def test_what_a_generator_raises_comes_out_and_what_is_under_way_is_cancelled(
    server: FakeServer, client: predictd.Client
) -> None:
    server.replies = [silent]

    def batches() -> Iterator[np.ndarray]:
        yield MANY[:3]
        server.wait_for(PredictRequest, 1)
        raise BrokenSourceError

    with pytest.raises(BrokenSourceError):
        predictd.RemoteModel("double", client=client).predict(batches())
    assert len(server.wait_for(CancelRequest)) == 1


def test_an_interrupt_cancels_what_is_under_way(server: FakeServer, client: predictd.Client) -> None:
    server.replies = [lambda request: [answer(request)], silent]

    def interrupt() -> None:
        server.wait_for(PredictRequest, 1 + chunks.WINDOW)
        signal.raise_signal(signal.SIGINT)

    # The signal is raised in another thread; its handler runs in this one, which waits for an answer.
    interrupter = threading.Thread(target=interrupt)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        interrupter.start()
        with pytest.raises(KeyboardInterrupt):
            predictd.RemoteModel("double", client=client).predict(MANY, batch_size=50)
    finally:
        signal.signal(signal.SIGINT, before)
        interrupter.join()
    assert len(server.wait_for(CancelRequest, chunks.WINDOW)) == chunks.WINDOW
    server.replies = [lambda request: [answer(request)]]
    np.testing.assert_array_equal(predictd.RemoteModel("double", client=client).predict(MANY), MANY * 2)


def test_a_source_may_take_longer_than_a_request_may(server: FakeServer, endpoint: str) -> None:
    with predictd.Client(endpoint, timeout_ms=5_000, retries=None) as client:
        slow = predictd.RemoteModel("double", client=client)

        def batches() -> Iterator[np.ndarray]:
            yield MANY[:3]
            server.wait_for(PredictRequest, 1)
            threading.Event().wait(6)
            yield MANY[3:6]

        np.testing.assert_array_equal(slow.predict(batches()), MANY[:6] * 2)


def test_a_generator_can_be_used_further_after_some_steps(server: FakeServer, client: predictd.Client) -> None:
    remote = predictd.RemoteModel("double", client=client)
    batches = (MANY[start : start + 10] for start in range(0, 500, 10))
    np.testing.assert_array_equal(remote.predict(batches, steps=2), MANY[:20] * 2)
    np.testing.assert_array_equal(remote.predict(batches, steps=1), MANY[20:30] * 2)


def test_a_restart_in_the_middle_costs_no_row(endpoint: str) -> None:
    first, second = FakeServer(endpoint, server_id="first"), FakeServer(endpoint, server_id="second")

    def batches() -> Iterator[np.ndarray]:
        for number in range(20):
            if number == 10:
                # Some of what was sent is unanswered, or answered and unread.
                first.stop()
                second.__enter__()
            yield MANY[25 * number : 25 * number + 25]

    with predictd.Client(endpoint, timeout_ms=60_000) as client, first:
        try:
            outputs = predictd.RemoteModel("double", client=client).predict(batches())
        finally:
            second.stop()
    np.testing.assert_array_equal(outputs, MANY * 2)
