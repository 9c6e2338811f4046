"""A call and its answer, over real sockets."""

from __future__ import annotations

import time

import numpy as np
import pytest

import predictd
from predictd_proto.limits import Limits
from predictd_proto.messages import CancelRequest, Hello, MetadataRequest, PredictRequest
from tests.client.fake_server import DOUBLE, FLOAT_ROWS, FakeServer, answer, model, other_version, refuse, signature


def test_a_prediction_has_outputs_and_a_receipt(server: FakeServer, client: predictd.Client, rows: np.ndarray) -> None:
    prediction = client.predict("double", rows)
    np.testing.assert_array_equal(prediction.outputs, rows * 2)
    assert (prediction.receipt.model, prediction.receipt.version, prediction.receipt.batch_rows) == ("double", 1, 3)
    assert repr(prediction) == (
        "<Prediction float32[3, 4] by 'double' version 1 in 0.30 ms (queue 0.10, assemble 0.00, execute 0.20, "
        "split 0.00), a batch of 3 rows, closed: idle; 0 rows waited behind it>"
    )


@pytest.mark.parametrize("count", [1, 100_000], ids=["inline", "own frame"])
def test_outputs_own_their_memory_and_may_be_written_to(
    server: FakeServer, client: predictd.Client, count: int
) -> None:
    outputs = client.predict("double", np.ones((count, 4), np.float32)).outputs
    outputs += 1
    assert outputs.flags.owndata
    assert (outputs == 3).all()


def test_outputs_are_nested_as_the_model_nests_them(server: FakeServer, client: predictd.Client) -> None:
    inputs = [np.ones((2, 4), np.float32), np.ones((2, 2), np.int32)]
    outputs = client.predict("pair", inputs).outputs
    assert list(outputs) == ["sum", "rest"]
    np.testing.assert_array_equal(outputs["sum"], [4, 4])
    np.testing.assert_array_equal(outputs["rest"][0], [[2, 2], [2, 2]])


def test_strings_travel(server: FakeServer, client: predictd.Client) -> None:
    assert list(client.predict("words", ["ä", "b"]).outputs) == ["<ä>".encode(), b"<b>"]


def test_not_a_number_and_infinity_pass_unchanged(server: FakeServer, client: predictd.Client) -> None:
    rows = np.array([[np.nan, np.inf, -np.inf, -0.0]], np.float32)
    np.testing.assert_array_equal(client.predict("double", rows).outputs, rows * 2)


def test_no_rows_give_no_rows(server: FakeServer, client: predictd.Client) -> None:
    assert client.predict("double", np.zeros((0, 4), np.float32)).outputs.shape == (0, 4)


def test_everything_about_the_caller_travels(server: FakeServer, client: predictd.Client, rows: np.ndarray) -> None:
    client.predict(
        "double",
        rows,
        version=1,
        signature="serving_default",
        timeout_ms=5000,
        caller_class="bulk",
        traceparent="00-ab-cd-01",
        task_id="t1",
        task_name="shop.digit",
    )
    (request,) = server.of(PredictRequest)
    assert (request.version, request.signature) == (1, "serving_default")
    assert (request.caller_class, request.traceparent) == ("bulk", "00-ab-cd-01")
    assert (request.task_id, request.task_name) == ("t1", "shop.digit")
    assert 0 < request.timeout_ms <= 5000


def test_the_clients_time_out_holds_without_one_of_the_call(
    server: FakeServer, client: predictd.Client, rows: np.ndarray
) -> None:
    client.predict("double", rows)
    assert 5000 < server.of(PredictRequest)[0].timeout_ms <= client.timeout_ms


def test_one_connection_serves_many_calls(server: FakeServer, client: predictd.Client, rows: np.ndarray) -> None:
    for _ in range(5):
        client.predict("double", rows)
    assert len(server.of(Hello)) == 1
    ids = [request.id for request in server.of(PredictRequest)]
    assert ids == [*range(ids[0], ids[0] + 5)]


def test_a_signature_is_asked_for_once(server: FakeServer, client: predictd.Client, rows: np.ndarray) -> None:
    for _ in range(5):
        client.predict("double", rows)
    assert len([message for message in server.asked if isinstance(message, MetadataRequest)]) == 1


def test_a_refused_input_costs_no_trip_and_no_connection(
    server: FakeServer, client: predictd.Client, rows: np.ndarray
) -> None:
    client.predict("double", rows)
    with pytest.raises(predictd.TensorMismatchError, match="got float64"):
        client.predict("double", rows.astype(np.float64))
    client.predict("double", rows.astype(np.float64), cast=True)
    assert len(server.of(PredictRequest)) == 2
    assert len(server.of(Hello)) == 1
    assert server.of(CancelRequest) == []


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"model": "nope"}, predictd.ModelNotFoundError, "model 'nope' is not served here; served: 'column', 'double'"),
        ({"model": "double", "version": 7}, predictd.VersionNotFoundError, "no version or label 7; versions: 1"),
        ({"model": "double", "version": "best"}, predictd.VersionNotFoundError, "no version or label 'best'"),
        ({"model": "double", "signature": "s"}, predictd.SignatureNotFoundError, "it has 'serving_default'"),
    ],
)
def test_unknown_names_are_told_with_the_known_ones(
    server: FakeServer, client: predictd.Client, rows: np.ndarray, asked: dict, error: type, said: str
) -> None:
    with pytest.raises(error) as caught:
        client.predict(inputs=rows, **asked)
    assert said in str(caught.value)


def test_a_model_that_loads_is_not_ready_and_one_that_failed_says_why(
    server: FakeServer, client: predictd.Client, rows: np.ndarray
) -> None:
    server.models = [model("slow", state="loading"), model("broken", state="failed", error="no such layer")]
    with pytest.raises(predictd.ModelNotReadyError, match="model 'slow' version 1 is not ready yet: loading"):
        client.predict("slow", rows)
    with pytest.raises(predictd.ModelLoadError, match="could not be loaded: no such layer"):
        client.predict("broken", rows)


def test_the_latest_ready_version_is_the_one_asked(server: FakeServer, client: predictd.Client) -> None:
    wide = other_version(
        DOUBLE, 2, signatures=(signature({"x": ("float32", (None, 6))}, {"y": ("float32", (None, 6))}),)
    )
    server.models = [DOUBLE, wide, other_version(DOUBLE, 3, state="loading", signatures=())]
    server.replies = [lambda request: [answer(request, version=2)]]
    assert client.metadata("double").version == 2
    assert client.predict("double", np.zeros((1, 6), np.float32)).outputs.shape == (1, 6)
    with pytest.raises(predictd.TensorMismatchError, match="model 'double' version 1, input 'x'"):
        client.predict("double", np.zeros((1, 6), np.float32), version=1)


def test_labels_name_versions(server: FakeServer, client: predictd.Client, rows: np.ndarray) -> None:
    server.models = [other_version(DOUBLE, 1, labels=("stable",)), other_version(DOUBLE, 2)]
    assert client.metadata("double", "stable").version == 1
    client.predict("double", rows, version="stable")
    assert server.of(PredictRequest)[0].version == "stable"


def test_a_newer_version_is_noticed_before_an_input_is_refused(server: FakeServer, client: predictd.Client) -> None:
    client.predict("double", np.zeros((1, 4), np.float32))
    wide = signature({"x": ("float32", (None, 6))}, {"y": ("float32", (None, 6))})
    server.models = [DOUBLE, other_version(DOUBLE, 2, signatures=(wide,))]
    server.replies = [lambda request: [answer(request, version=2)]]
    assert client.predict("double", np.zeros((1, 6), np.float32)).outputs.shape == (1, 6)


def test_an_answer_of_a_newer_version_is_nested_as_that_version_nests(
    server: FakeServer, client: predictd.Client, rows: np.ndarray
) -> None:
    client.predict("double", rows)
    renamed = signature({"x": FLOAT_ROWS}, {"y": FLOAT_ROWS}, nest_out={"doubled": "y"})
    server.models = [DOUBLE, other_version(DOUBLE, 2, signatures=(renamed,))]
    server.replies = [lambda request: [answer(request, version=2)]]
    for _ in range(3):
        assert list(client.predict("double", rows).outputs) == ["doubled"]
    assert len([message for message in server.asked if isinstance(message, MetadataRequest)]) == 2


def test_an_answer_that_is_here_waits_for_no_silent_control_thread(
    server: FakeServer, endpoint: str, rows: np.ndarray
) -> None:
    client = predictd.Client(endpoint, connect_timeout_ms=60_000)
    client.predict("double", rows)
    server.models = [other_version(DOUBLE, 2)]
    server.replies = [lambda request: [answer(request, version=2)]]
    server.control_is_silent = True
    began_s = time.monotonic()
    for _ in range(3):
        np.testing.assert_array_equal(client.predict("double", rows, timeout_ms=1_000).outputs, rows * 2)
    assert time.monotonic() - began_s < 50, "it took the time for connecting, and not its own"
    # Asked for once at first, once in vain, and then not again for a moment.
    assert len([message for message in server.asked if isinstance(message, MetadataRequest)]) == 2
    client.close()


def test_outputs_with_other_names_are_a_fault_of_the_server(
    server: FakeServer, client: predictd.Client, rows: np.ndarray
) -> None:
    other = signature({"x": FLOAT_ROWS}, {"z": FLOAT_ROWS})
    server.models = [model("double", other)]
    with pytest.raises(predictd.RemoteProtocolError, match="answered with outputs 'y'; its metadata says 'z'"):
        client.predict("double", rows)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("prediction_failed", predictd.PredictionError),
        ("overloaded", predictd.OverloadedError),
        ("draining", predictd.ServerDrainingError),
        ("expired_in_queue", predictd.ExpiredInQueueError),
        ("tensor_mismatch", predictd.TensorMismatchError),
        ("internal", predictd.InternalServerError),
        ("a_code_of_the_future", predictd.RemoteError),
    ],
)
def test_an_error_of_the_server_is_raised_and_the_connection_kept(
    server: FakeServer, client: predictd.Client, rows: np.ndarray, code: str, error: type
) -> None:
    server.replies = [refuse(code, "the server's words", retry_after_ms=3), lambda request: [answer(request)]]
    with pytest.raises(error, match="the server's words") as caught:
        client.predict("double", rows)
    assert isinstance(caught.value, predictd.PredictdError)
    assert caught.value.retry_after_ms == 3
    client.predict("double", rows)
    assert len(server.of(Hello)) == 1


def test_retryable_errors_are_repeated_within_the_call(server: FakeServer, endpoint: str, rows: np.ndarray) -> None:
    server.replies = [refuse("overloaded"), refuse("model_not_ready"), lambda request: [answer(request)]]
    with predictd.Client(endpoint, retries=predictd.Retries(first_pause_ms=1)) as client:
        np.testing.assert_array_equal(client.predict("double", rows).outputs, rows * 2)
    assert len(server.of(PredictRequest)) == 3


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(max_rows=2), "3 rows; the server takes max_rows = 2. Send fewer rows at a time"),
        (Limits(max_request_bytes=50), "the limit is max_request_bytes = 50"),
        (Limits(max_header_bytes=50), "the limit is max_header_bytes = 50"),
        (Limits(max_rank=1), "rank 2; the server takes max_rank = 1"),
    ],
)
def test_limits_are_checked_before_sending(
    server: FakeServer, client: predictd.Client, rows: np.ndarray, limits: Limits, said: str
) -> None:
    server.limits = limits
    with pytest.raises(predictd.RequestTooLargeError) as caught:
        client.predict("double", rows)
    assert said in str(caught.value)
    assert server.of(PredictRequest) == []


def test_models_are_listed_newest_first(server: FakeServer, client: predictd.Client) -> None:
    server.models = [other_version(DOUBLE, 1), other_version(DOUBLE, 3), model("a")]
    assert [(found.name, found.version) for found in client.models()] == [("a", 1), ("double", 3), ("double", 1)]
    assert [found.version for found in client.models("double")] == [3, 1]
    with pytest.raises(predictd.ModelNotFoundError, match="served: 'a', 'double'"):
        client.models("nope")


def test_status_tells_of_the_server(server: FakeServer, client: predictd.Client) -> None:
    status = client.status()
    assert (status.state, status.server_id, status.is_ready) == ("ready", "first", True)


def test_waiting_ends_when_the_server_is_ready(server: FakeServer, client: predictd.Client) -> None:
    server.state = "starting"
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        server.state = "ready"

    assert client.wait_until_ready(30, sleep=sleep).is_ready
    assert len(pauses) == 1


def test_waiting_for_one_model_does_not_wait_for_the_others(server: FakeServer, client: predictd.Client) -> None:
    server.state = "starting"
    assert client.wait_until_ready(30, model="double").state == "starting"
    with pytest.raises(predictd.ModelNotReadyError, match=r"not ready within .*: the server at .* is starting"):
        client.wait_until_ready(0.5)
    server.state = "ready"
    with pytest.raises(predictd.ModelNotFoundError):
        client.wait_until_ready(30, model="nope")


def test_a_closed_client_works_again(server: FakeServer, client: predictd.Client, rows: np.ndarray) -> None:
    client.predict("double", rows)
    client.close()
    client.predict("double", rows)
    assert len(server.of(Hello)) == 2


def test_the_endpoint_comes_from_the_environment(
    server: FakeServer, endpoint: str, rows: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREDICTD_ENDPOINT", endpoint)
    with predictd.Client() as client:
        client.predict("double", rows)
        assert repr(client) == f"<predictd.Client {endpoint}, time-out 30.0 s>"


def test_tcp_works_as_ipc_does(rows: np.ndarray) -> None:
    with FakeServer("tcp://127.0.0.1:28731") as running, predictd.Client("tcp://127.0.0.1:28731") as client:
        np.testing.assert_array_equal(client.predict("double", rows).outputs, rows * 2)
        assert running.of(PredictRequest)
