"""What a daemon answered is answered again from the file, bit for bit; what it was never asked is told."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import predictd
from predictd.testing import FakeModel, fake_server, new_endpoint, record, replay
from predictd.testing.recording import Recording, response_of
from predictd_proto.dtypes import DTYPE_BYTES
from predictd_proto.messages import PredictRequest, PredictResponse, Receipt
from predictd_proto.tensors import STRING, Tensor
from tests.testing_kit.conftest import ROWS, doubling

RECEIPT = Receipt(model="double", version=1)
CLIENT = predictd.Client(retries=None, timeout_ms=30_000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calls" / "digits.predictd"


@pytest.fixture(params=[False, True], ids=["sockets", "in process"])
def in_process(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def recorded(path: Path, *models: FakeModel, call: Callable[[], Any], **options: Any) -> Any:
    with fake_server(*models, endpoint=new_endpoint()) as real:
        with record(path, endpoint=real.endpoint, **options):
            result = call()
        return result, len(real.requests)


def test_what_was_recorded_is_replayed(path: Path, in_process: bool) -> None:
    def ask() -> Any:
        one = CLIENT.predict("double", ROWS)
        two = CLIENT.predict("double", ROWS[:1], version="stable")
        many = predictd.RemoteModel("double").predict(np.ones((40, 4)), batch_size=16)
        return one.outputs.tolist(), two.receipt.version, many.tolist(), CLIENT.metadata("double").parameters

    model = doubling(version=3, labels=["stable"], parameters=12)
    first, asked = recorded(path, model, call=ask, in_process=in_process)
    with replay(path, in_process=in_process) as server:
        assert ask() == first
        # Two of the chunks are the same question.
        assert (len(server.requests), asked) == (5, 4)
        server.assert_asked("double", inputs=ROWS)


def test_errors_of_the_model_are_recorded_and_moments_are_not(path: Path) -> None:
    def refuse(x: Any) -> Any:
        raise (ValueError("negative") if x[0, 0] < 0 else predictd.OverloadedError("busy"))

    def ask() -> None:
        with pytest.raises(predictd.PredictionError, match="negative"):
            CLIENT.predict("double", ROWS - 1)
        with pytest.raises(predictd.OverloadedError):
            CLIENT.predict("double", ROWS)

    recorded(path, doubling(answer=refuse), call=ask)
    with replay(path):
        with pytest.raises(predictd.PredictionError, match="negative"):
            CLIENT.predict("double", ROWS - 1)
        with pytest.raises(predictd.InvalidRequestError, match="holds no answer"):
            CLIENT.predict("double", ROWS)


def test_an_unknown_call_says_what_there_is_and_what_to_do(path: Path) -> None:
    recorded(path, doubling(), call=lambda: [CLIENT.predict("double", ROWS * k) for k in (1, 2)])
    with replay(path), pytest.raises(predictd.InvalidRequestError) as caught:
        CLIENT.predict("double", ROWS[:2])
    assert str(caught.value) == (
        f"{path} holds no answer to model 'double' with x float32[2, 4]; it holds nothing of these shapes. "
        "Recorded were 2 calls:\n  model 'double' with x float32[3, 4] (2 different ones)\n"
        f"To record again, delete the file or use predictd.testing.record({str(path)!r}), with the real daemon running"
    )
    assert not caught.value.is_retryable
    with replay(path):
        with pytest.raises(predictd.InvalidRequestError, match="it holds the same shapes with other values"):
            CLIENT.predict("double", -ROWS)
        with pytest.raises(predictd.ModelNotFoundError):
            CLIENT.predict("cats", ROWS)


def test_once_needs_a_daemon_only_once(path: Path) -> None:
    def ask() -> Any:
        return CLIENT.predict("double", ROWS).outputs.tolist()

    answers = [recorded(path, doubling(), call=ask, mode="once")]
    answers += [recorded(path, call=ask, mode="once")]
    assert [asked for _, asked in answers] == [1, 0]
    assert answers[0][0] == answers[1][0]
    with record(path, mode="once", endpoint="ipc:///nowhere/x.sock"):
        CLIENT.predict("double", ROWS)


def test_new_adds_what_is_missing(path: Path) -> None:
    recorded(path, doubling(), call=lambda: CLIENT.predict("double", ROWS))
    both = lambda: [CLIENT.predict("double", ROWS), CLIENT.predict("double", -ROWS)]  # noqa: E731
    assert recorded(path, doubling(), call=both, mode="new")[1] == 1
    with replay(path):
        both()


def test_two_that_add_at_once_both_add(path: Path) -> None:
    with fake_server(doubling(), endpoint=new_endpoint()) as real, record(path, endpoint=real.endpoint, mode="new"):
        CLIENT.predict("double", ROWS)
        # Another process meanwhile.
        other = Recording.load(path) if path.exists() else Recording()
        request = PredictRequest(id=1, model="double", tensors=(Tensor.from_array("x", -ROWS),))
        answer = PredictResponse(id=1, tensors=(Tensor.from_array("output_0", -ROWS * 2),), receipt=RECEIPT)
        other.add(request, answer)
        other.save(path)
    with replay(path):
        assert CLIENT.predict("double", -ROWS).outputs.tolist() == (-ROWS * 2).tolist()
        CLIENT.predict("double", ROWS)
    assert os.listdir(path.parent) == [path.name]


def test_one_of_several_daemons_must_be_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREDICTD_ENDPOINT", "ipc:///a/b, ipc:///c/d")
    with pytest.raises(predictd.ConfigError, match=r"got several: .*Name one: record\(\.\.\., endpoint='ipc:///a/b'\)"):
        record(path).__enter__()


def test_the_file_is_the_same_for_the_same_calls(path: Path) -> None:
    def ask(order: list[int]) -> Callable[[], Any]:
        return lambda: [CLIENT.predict("double", ROWS * k) for k in order]

    recorded(path, doubling(), call=ask([1, 2, 3]))
    content, when_ns = path.read_bytes(), path.stat().st_mtime_ns
    recorded(path, doubling(), call=ask([3, 1, 2, 1]))
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (content, when_ns)
    assert len(content) < 1000
    assert os.listdir(path.parent) == [path.name]


def test_a_failed_test_leaves_the_file_alone(path: Path) -> None:
    recorded(path, doubling(), call=lambda: CLIENT.predict("double", ROWS))
    content = path.read_bytes()

    def fail() -> None:
        CLIENT.predict("double", -ROWS)
        raise KeyError

    with pytest.raises(KeyError):
        recorded(path, doubling(), call=fail)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04", "expected a recording of predictd.testing, got a file that begins with"),
        (b"predictd calls 9\nx", "a recording of format 9; this predictd reads format 1: record it again"),
        (b"predictd calls 1\nx", "a recording that can't be read"),
        (Recording().to_bytes()[:-9], "a recording that can't be read"),
    ],
)
def test_a_file_that_is_none_is_told(path: Path, content: bytes, said: str) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(predictd.ConfigError, match=said):
        replay(path).__enter__()


def test_a_file_that_is_missing_is_told(path: Path) -> None:
    with pytest.raises(predictd.ConfigError, match="there is no such recording"):
        replay(path).__enter__()
    with pytest.raises(predictd.ConfigError, match="mode: expected 'all', 'once' or 'new', got 'twice'"):
        record(path, mode="twice").__enter__()  # type: ignore[arg-type]


def test_nobody_to_record_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("predictd.testing.upstream.READY_TIMEOUT_S", 0.2)
    with pytest.raises(predictd.ServerUnavailableError):
        record(path, endpoint=new_endpoint()).__enter__()
    assert not path.exists()


def test_many_rows_are_cut_the_same_way_whatever_came_before(path: Path) -> None:
    model, x = predictd.RemoteModel("double"), np.arange(4000.0).reshape(1000, 4)

    def ask() -> Any:
        model.predict(x[:500])
        return model.predict(x).tolist()

    first, _ = recorded(path, doubling(), call=ask)
    with replay(path) as server:
        assert predictd.RemoteModel("double").predict(x).tolist() == first
        assert [request.rows for request in server.requests] == [64] * 15 + [40]


SHAPES = st.lists(st.integers(0, 4), min_size=1, max_size=4).map(tuple)


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    dtype, shape = draw(st.sampled_from([*DTYPE_BYTES, STRING])), draw(SHAPES)
    count = int(np.prod(shape))
    if dtype == STRING:
        words = draw(st.lists(st.binary(max_size=9), min_size=count, max_size=count))
        array: Any = np.empty(count, dtype=object)
        array[:] = words
        return Tensor.from_array("t", array.reshape(shape))
    size = count * DTYPE_BYTES[dtype]
    raw = draw(st.binary(min_size=size, max_size=size))
    return Tensor("t", dtype, shape, bytes(byte & 1 for byte in raw) if dtype == "bool" else raw)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(st.tuples(tensors(), tensors()), max_size=5))
def test_any_recorded_call_replays_bit_for_bit(calls: list[tuple[Tensor, Tensor]]) -> None:
    recording = Recording()
    expected: dict[Any, Tensor] = {}
    for number, (question, answer) in enumerate(calls):
        request = PredictRequest(id=number, model="m", tensors=(question,))
        receipt = Receipt(model="m", version=1)
        recording.add(request, PredictResponse(id=number, tensors=(answer,), receipt=receipt))
        expected.setdefault((question.dtype, question.shape, bytes(question.data)), answer)
    again = Recording.from_bytes(recording.to_bytes(), "memory")
    assert again.to_bytes() == recording.to_bytes()
    for (dtype, shape, data), answer in expected.items():
        call = again.find(PredictRequest(id=7, model="m", tensors=(Tensor("t", dtype, shape, data),)))
        assert call is not None
        (given_back,) = response_of(PredictRequest(id=7, model="m", tensors=()), call).tensors
        assert given_back == answer
    assert again.find(PredictRequest(id=1, model="n", tensors=())) is None


@pytest.mark.parametrize("dtype", [*DTYPE_BYTES, STRING])
def test_every_dtype_comes_back_through_client_and_file(path: Path, dtype: str) -> None:
    x = np.array([b"a", b"", b"\xff"], dtype=object) if dtype == STRING else np.array([0, 1, 1])
    model = FakeModel("same", inputs=(dtype, (None,)), outputs=(dtype, (None,)), answer=lambda x: x)
    ask = lambda: CLIENT.predict("same", x, cast=True).outputs  # noqa: E731
    first, _ = recorded(path, model, call=ask)
    with replay(path):
        again = ask()
    assert (again.dtype, again.tobytes() if dtype != STRING else again.tolist()) == (
        first.dtype,
        first.tobytes() if dtype != STRING else first.tolist(),
    )
