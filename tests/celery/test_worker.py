"""The ready app under a real prefork worker with four children, a real Redis and a real daemon."""

from __future__ import annotations

import math

import numpy as np
import pytest
from celery.exceptions import TaskRevokedError

from benchmarks.processes.memory import mapped_files
from predictd_celery import decode_arrays
from predictd_celery.tasks import PREDICT
from predictd_proto.errors import (
    DeadlineExceededError,
    ModelNotFoundError,
    PredictdError,
    SignatureNotFoundError,
    TensorMismatchError,
    VersionNotFoundError,
)
from tests.celery.worker_process import WorkerProcess

pytestmark = [pytest.mark.integration, pytest.mark.redis, pytest.mark.tensorflow]


def same(got, expected) -> None:
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_every_task_gets_the_answer_that_keras_gives(worker: WorkerProcess, digits) -> None:
    x, y = digits
    pending = [worker.predict("mlp", row.tolist()) for row in x[:, np.newaxis]]
    answers = [worker.answer(result) for result in pending]
    assert all(type(number) is float for number in answers[0][0])
    same(np.array(answers)[:, 0], y)


def test_arrays_go_and_come_bit_for_bit(worker: WorkerProcess, daemon, digits) -> None:
    x = digits[0][:5]
    got = decode_arrays(worker.answer(worker.predict("mlp", x, result="ndarray")))
    assert got.dtype == np.float32
    with daemon.client() as client:
        assert got.tobytes() == client.predict("mlp", x).outputs.tobytes()


@pytest.mark.parametrize("result", ["json", "ndarray"])
def test_several_inputs_and_outputs_by_name(worker: WorkerProcess, result: str) -> None:
    inputs = {"left": np.ones((2, 3), np.float32), "right": np.array([[1, 2], [3, 4]], np.int32)}
    if result == "json":
        inputs = {name: array.tolist() for name, array in inputs.items()}
    outputs = decode_arrays(worker.answer(worker.predict("two", inputs, result=result)))
    assert set(outputs) == {"both", "sum"}
    np.testing.assert_array_equal(outputs["both"], [[1, 1, 1, 1, 2], [1, 1, 1, 3, 4]])


@pytest.mark.parametrize("result", ["json", "ndarray"])
def test_nan_and_inf_pass_through_unchanged(worker: WorkerProcess, result: str) -> None:
    row = [[[math.nan, math.inf, -math.inf, 1.5]]]
    inputs = row if result == "json" else np.array(row, np.float32)
    got = decode_arrays(worker.answer(worker.predict("sequence", inputs, result=result)))
    np.testing.assert_array_equal(got, np.array(row) * 2)


def test_the_receipt_tells_the_version_and_the_batch(worker: WorkerProcess, digits) -> None:
    answer = worker.answer(worker.predict("mlp", digits[0][:3].tolist(), receipt=True))
    assert answer["receipt"]["model"] == "mlp"
    assert answer["receipt"]["batch_rows"] >= 3
    same(answer["outputs"], digits[1][:3])


@pytest.mark.parametrize(
    ("model", "inputs", "options", "error", "says"),
    [
        ("mpl", [[0.0] * 64], {}, ModelNotFoundError, "no model 'mpl' is served here.*'mlp'"),
        ("mlp", [[0.0] * 64], {"version": 99}, VersionNotFoundError, "99"),
        ("mlp", [[0.0] * 64], {"signature": "train"}, SignatureNotFoundError, "'train'"),
        ("mlp", [[0.0] * 63], {}, TensorMismatchError, "pixels.*64.*63"),
        ("mlp", [[0.0], [1.0, 2.0]], {}, TensorMismatchError, "padded"),
        ("mlp", np.zeros((1, 64)), {}, TensorMismatchError, "float32.*float64.*cast=True"),
        ("mlp", "seven", {}, TensorMismatchError, "pixels"),
    ],
)
def test_a_permanent_error_fails_at_once_and_can_be_read(
    worker: WorkerProcess, model: str, inputs, options, error: type[PredictdError], says: str
) -> None:
    result = worker.predict(model, inputs, **options)
    with pytest.raises(error, match=says) as raised:
        worker.answer(result)
    assert isinstance(raised.value.detail, dict)
    worker.wait_for_log(f"{PREDICT}[{result.id}] raised")
    assert f"{PREDICT}[{result.id}] retry" not in worker.log


def test_an_argument_that_predict_does_not_know_is_refused_when_it_is_enqueued(worker: WorkerProcess) -> None:
    with pytest.raises(TypeError, match="modle"):
        worker.app.tasks["predictd.predict"].delay(modle="mlp", inputs=[[0.0]])


def test_the_typed_error_comes_before_the_soft_limit(worker: WorkerProcess) -> None:
    result = worker.predict("sleeper", [115.0], soft_time_limit=5)
    with pytest.raises(DeadlineExceededError, match="set by the task's soft time limit of 5 s"):
        worker.answer(result)
    assert f"Soft time limit (5s) exceeded for predictd.predict[{result.id}]" not in worker.log


def test_the_call_s_own_timeout_holds(worker: WorkerProcess) -> None:
    with pytest.raises(DeadlineExceededError, match="the call's timeout of 300 ms"):
        worker.answer(worker.predict("sleeper", [104.0], timeout_ms=300, soft_time_limit=10))


def test_a_task_that_expires_inside_predict_says_so(worker: WorkerProcess) -> None:
    with pytest.raises(DeadlineExceededError, match="set by the task's expiry"):
        worker.answer(worker.predict("sleeper", [112.0], expires=4))


def test_a_task_that_has_expired_is_never_asked(worker: WorkerProcess, daemon) -> None:
    before = daemon.status().counters["requests_total"]
    with pytest.raises(TaskRevokedError):
        worker.answer(worker.predict("mlp", [[0.0] * 64], expires=0.0001))
    assert daemon.status().counters["requests_total"] == before


def test_neither_parent_nor_children_ever_load_tensorflow(worker: WorkerProcess) -> None:
    pids = [worker.process.pid, *(child.pid for child in worker.children())]
    assert len(pids) == 5
    for pid in pids:
        files = mapped_files(pid)
        assert any("zmq" in name for name in files), "the client itself should be seen this way"
        assert not [name for name in files if "tensorflow" in name or "keras" in name or "h5py" in name]
