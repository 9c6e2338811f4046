"""Large tensors through memory that client and server share: round trips by every kind of call, and every way back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import predictd
from predictd_proto.frames import decode
from predictd_proto.messages import Hello, Welcome
from predictd_proto.segments import SHARED_TENSOR_BYTES
from predictd_server.sockets.segments import SegmentQuotas
from tests.server.fake_model import POISON, DoublingRunner, doubling_spec, served
from tests.server.pump_bench import GATE, QUOTAS, PumpBench, running_pump
from tests.server.shared_memory import memfds_of, needs_memfd

pytestmark = needs_memfd

#: Of the model that the bench serves, three columns of float32; rows that are too large to travel in frames.
ROWS = SHARED_TENSOR_BYTES // 12 + 1
MOST_ROWS = 1 << 16


@pytest.fixture(scope="module")
def pump() -> Iterator[PumpBench]:
    before = memfds_of()
    with running_pump(max_batch_size=MOST_ROWS) as bench:
        for dtype in ("float64", "int16", "uint8", "complex64", "bool"):
            spec = doubling_spec((None, None), (None, None, 2), (None, 3), dtype=dtype)
            bench.core._registry.put(served(spec, DoublingRunner(), MOST_ROWS, model=dtype))
        yield bench
        # Its callers have gone, and so has their memory, here and there.
        bench.wait_for(lambda: memfds_of() == before)


@pytest.fixture
def client(pump: PumpBench) -> Iterator[predictd.Client]:
    with predictd.Client(pump.endpoint) as made:
        yield made


class Counted:
    """What was counted since it was made."""

    def __init__(self, pump: PumpBench) -> None:
        self._pump = pump
        self._before = pump.counters.snapshot()

    def __getitem__(self, name: str) -> int:
        return self._pump.counters.snapshot()[name] - self._before[name]

    @property
    def ways(self) -> dict[str, int]:
        """Tensors that went each way."""
        names = ("shared_inputs", "shared_outputs", "framed_inputs", "framed_outputs")
        return {name: self[f"{name}_total"] for name in names if self[f"{name}_total"]}


def large(rows: int = ROWS, first: float = 0.25) -> np.ndarray[Any, Any]:
    """No value of it is one at which the model raises or waits."""
    return (first + np.arange(rows * 3, dtype=np.float32)).reshape(rows, 3)


def test_both_directions_take_the_road(pump: PumpBench, client: predictd.Client) -> None:
    counted = Counted(pump)
    # This model's metadata don't say that it answers a row for a row: the first answer tells how much room they take.
    client.predict("m", large())
    assert counted.ways == {"shared_inputs": 1, "framed_outputs": 1}
    counted = Counted(pump)
    for number in range(5):
        x = large(first=number + 0.5)
        prediction = client.predict("m", x)
        np.testing.assert_array_equal(prediction.outputs, x * 2)
        assert prediction.receipt.batch_rows == ROWS
    assert counted.ways == {"shared_inputs": 5, "shared_outputs": 5}
    # The one for the inputs is used again and again, and so is the one for the outputs.
    assert counted["segments_mapped_total"] == 1


def test_small_tensors_do_not(pump: PumpBench, client: predictd.Client) -> None:
    counted = Counted(pump)
    np.testing.assert_array_equal(client.predict("m", large(4)).outputs, large(4) * 2)
    np.testing.assert_array_equal(client.predict("m", large(2000)).outputs, large(2000) * 2)
    assert counted.ways == {"framed_inputs": 1, "framed_outputs": 1}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_dtypes_and_shapes_large_and_small(pump: PumpBench, client: predictd.Client, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(["float64", "int16", "uint8", "complex64", "bool"]))
    rows = data.draw(st.integers(1, 3))
    columns = [data.draw(st.sampled_from([1, 100, SHARED_TENSOR_BYTES // 8, SHARED_TENSOR_BYTES])) for _ in range(2)]
    random = np.random.default_rng(data.draw(st.integers(0, 9)))
    shapes = [(rows, columns[0]), (rows, columns[1] // 2 + 1, 2), (rows, 3)]
    arrays = [random.integers(0, 2, shape).astype(dtype) for shape in shapes]
    if data.draw(st.booleans()):
        arrays[0] = np.asfortranarray(arrays[0])
    counted = Counted(pump)
    for _ in range(2):
        answers = client.predict(dtype, arrays).outputs
        for answer, array in zip(answers, arrays, strict=True):
            expected = array * 2
            assert answer.dtype == expected.astype(dtype).dtype
            np.testing.assert_array_equal(answer, expected.astype(dtype))
            assert answer.flags.owndata
            assert answer.flags.writeable
    sizes = [array.nbytes for array in arrays]
    inputs = sum(size >= SHARED_TENSOR_BYTES for size in sizes) * 2 if dtype != "bool" else 0
    assert counted["shared_inputs_total"] == inputs
    # Of free axes only an answer tells the size of outputs.
    assert counted["shared_outputs_total"] >= inputs // 2


def test_outputs_are_the_callers_own(pump: PumpBench) -> None:
    client = predictd.Client(pump.endpoint)
    first, second = [client.predict("m", large(first=number)).outputs for number in (0.25, 0.5)]
    expected = first.copy(), second.copy()
    first[0] = 7.0
    for number in (10.5, 20.5, 30.5):
        client.predict("m", large(first=number))
    np.testing.assert_array_equal(second, expected[1])
    client.close()
    np.testing.assert_array_equal(first[1:], expected[0][1:])
    assert first[0, 0] == 7.0
    assert first.flags.owndata


def test_the_callers_array_is_its_own_again_when_the_call_is_over(pump: PumpBench, client: predictd.Client) -> None:
    x = large()
    before = x.copy()
    for _ in range(3):
        np.testing.assert_array_equal(client.predict("m", x).outputs, x * 2)
    np.testing.assert_array_equal(x, before)
    x.flags.writeable = False
    np.testing.assert_array_equal(client.predict("m", x).outputs, before * 2)


def test_submit_and_map(pump: PumpBench) -> None:
    # More at once would be too much for this server's queue.
    with predictd.Client(pump.endpoint, max_in_flight=4) as client:
        client.predict("m", large())
        counted = Counted(pump)
        arrays = [large(first=number + 0.25) for number in range(0, 40, 2)]
        futures = [client.submit("m", x) for x in arrays]
        for x, future in zip(arrays, futures, strict=True):
            np.testing.assert_array_equal(future.result().outputs, x * 2)
        for x, prediction in zip(arrays, client.map("m", arrays), strict=True):
            np.testing.assert_array_equal(prediction.outputs, x * 2)
    assert counted.ways == {"shared_inputs": 40, "shared_outputs": 40}
    assert counted["segments_mapped_total"] <= 8


def test_coroutines(pump: PumpBench) -> None:
    async def ask() -> None:
        async with predictd.AsyncClient(pump.endpoint, max_in_flight=4) as client:
            await client.predict("m", large())
            arrays = [large(first=number + 0.25) for number in range(10)]
            predictions = await asyncio.gather(*[client.predict("m", x) for x in arrays])
            for x, prediction in zip(arrays, predictions, strict=True):
                np.testing.assert_array_equal(prediction.outputs, x * 2)

    counted = Counted(pump)
    asyncio.run(ask())
    assert counted.ways == {"shared_inputs": 11, "shared_outputs": 10, "framed_outputs": 1}


def test_a_remote_model_sends_its_chunks_that_way(pump: PumpBench) -> None:
    counted = Counted(pump)
    model = predictd.RemoteModel("m", endpoint=pump.endpoint)
    x = large(4 * ROWS)
    x[(x == POISON) | (x == GATE)] = 1.0
    np.testing.assert_array_equal(model.predict(x, batch_size=ROWS, verbose=0), x * 2)
    assert counted.ways == {"shared_inputs": 4, "shared_outputs": 2, "framed_outputs": 2}


def test_a_failed_request_gives_its_memory_away_and_the_next_one_works(
    pump: PumpBench, client: predictd.Client
) -> None:
    client.predict("m", large())
    x = large()
    x[5] = POISON
    with pytest.raises(predictd.PredictionError):
        client.predict("m", x)
    np.testing.assert_array_equal(client.predict("m", large()).outputs, large() * 2)


def test_a_client_that_is_closed_leaves_nothing(pump: PumpBench) -> None:
    with predictd.Client(pump.endpoint) as client:
        outputs = [client.predict("m", large(first=number + 0.25)).outputs for number in range(3)]
        assert memfds_of()
    pump.wait_for(lambda: not memfds_of())
    np.testing.assert_array_equal(outputs[2], large(first=2.25) * 2)


def quotas(**changes: int) -> SegmentQuotas:
    words = {name: getattr(QUOTAS, name) for name in QUOTAS.__slots__}
    return SegmentQuotas(**{**words, **changes})


@pytest.mark.parametrize("bounds", [quotas(max_bytes=1 << 12), quotas(max_client_bytes=1 << 12), quotas(max_bytes=0)])
def test_where_there_is_no_room_they_travel_in_frames(bounds: SegmentQuotas) -> None:
    with running_pump(max_batch_size=MOST_ROWS, quotas=bounds) as pump, predictd.Client(pump.endpoint) as client:
        for _ in range(3):
            np.testing.assert_array_equal(client.predict("m", large()).outputs, large() * 2)
        assert Counted(pump)._pump.counters.framed_inputs_total == 3
        assert pump.counters.shared_inputs_total == pump.counters.segments_refused_total == 0


def test_idle_memory_of_one_client_makes_room_for_another_of_the_process() -> None:
    bounds = quotas(max_client_segments=2)
    with running_pump(max_batch_size=MOST_ROWS, quotas=bounds) as pump, predictd.Client(pump.endpoint) as first:
        for _ in range(2):
            first.submit("m", large()).result()
        with predictd.Client(pump.endpoint) as second:
            for number in (0.25, 0.5, 0.75):
                np.testing.assert_array_equal(second.predict("m", large(first=number)).outputs, large(first=number) * 2)
        assert pump.counters.shared_inputs_total == 5
        assert pump.counters.segments_refused_total == 0


def test_tcp_has_no_road() -> None:
    with running_pump(max_batch_size=MOST_ROWS, endpoint="tcp://127.0.0.1:*") as pump:
        caller = pump.caller()
        caller.send(Hello(oldest=1, newest=1, segments=True))
        welcome = decode(caller.socket.recv_multipart())
        assert isinstance(welcome, Welcome)
        assert welcome.segments is None
