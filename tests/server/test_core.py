"""The core: what goes in as frames and time comes out as the right replies, for every rule between them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictd_proto.errors import ServerDrainingError
from predictd_proto.limits import Limits
from predictd_proto.messages import CancelRequest, Hello, LoadRequest, Message, ReloadRequest, StatusRequest, Welcome
from predictd_proto.tensors import Tensor
from tests.server.fake_model import POISON, CoreBench, doubling_spec, rows, served


def test_a_request_is_answered_with_its_own_rows_and_a_receipt() -> None:
    bench = CoreBench()
    bench.send(7, rows(2))
    assert bench.run_one()
    np.testing.assert_array_equal(bench.outputs(7)[0], rows(2) * 2)
    receipt = bench.receipt(7)
    assert (receipt.model, receipt.version, receipt.batch_rows, receipt.padding_rows) == ("m", 1, 2, 0)
    assert receipt.closed_by == "idle"


def test_requests_that_wait_together_leave_together_padded_to_an_allowed_size() -> None:
    bench = CoreBench()
    for number in range(3):
        bench.send(number, rows(1, number))
    assert bench.run_all() == 1
    assert bench.runner.sizes == [4]
    assert bench.receipt(0).closed_by == "gathered"
    assert bench.receipt(0).padding_rows == 1
    for number in range(3):
        np.testing.assert_array_equal(bench.outputs(number)[0], rows(1, number) * 2)


def test_a_full_batch_says_so_and_the_rest_waits_for_the_next() -> None:
    bench = CoreBench(max_batch_size=4)
    for number in range(5):
        bench.send(number, rows(1, number))
    assert bench.run_all() == 2
    assert bench.receipt(0).closed_by == "full"
    assert bench.receipt(4).batch_rows == 1


def test_a_large_request_is_cut_joined_and_lets_others_in_between() -> None:
    bench = CoreBench(max_batch_size=4)
    bench.send(1, rows(10))
    bench.send(2, rows(1, 500))
    bench.run_one()
    bench.run_one()
    assert (b"p", 2) in bench.answers, "the small request waited for more than one batch of the large one"
    bench.run_all()
    np.testing.assert_array_equal(bench.outputs(1)[0], rows(10) * 2)
    assert bench.receipt(1).batches == 3


@settings(max_examples=150, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=30),
    max_batch_size=st.integers(1, 16),
    runs_between=st.lists(st.integers(0, 3), min_size=30, max_size=30),
    poisoned=st.sets(st.integers(0, 29), max_size=4),
    cancelled=st.sets(st.integers(0, 29), max_size=4),
)
def test_whatever_is_merged_cut_failed_or_cancelled_each_caller_gets_exactly_its_own_rows(
    sizes: list[int], max_batch_size: int, runs_between: list[int], poisoned: set[int], cancelled: set[int]
) -> None:
    bench = CoreBench((None, 2), (None,), max_batch_size=max_batch_size, max_rows=10_000)
    sent = {}
    for number, size in enumerate(sizes):
        pair = rows(size, number * 1000 + 1000, width=2), np.arange(size, dtype=np.float32) - number
        if number in poisoned and size:
            pair[1][size // 2] = POISON
        sent[number] = pair
        bench.send(number, *pair)
        if number in cancelled:
            bench.send_message(CancelRequest(id=number))
        for _ in range(runs_between[number]):
            bench.run_one()
    bench.run_all()
    for number, pair in sent.items():
        if number in poisoned and sizes[number] and number not in cancelled:
            assert bench.error(number).code == "prediction_failed"
        elif number not in cancelled or not sizes[number]:
            for output, array in zip(bench.outputs(number), pair, strict=True):
                np.testing.assert_array_equal(output, array * 2)
    assert set(bench.runner.sizes) <= set(bench.registry.find("m", None, None).sizes)
    held = bench.core.admission
    assert (held.requests, held.rows, held.bytes, bench.core.open_requests) == (0, 0, 0, 0)
    assert bench.core.next_wakeup() is None


def test_one_poisoned_request_does_not_fail_its_neighbours() -> None:
    bench = CoreBench()
    for number in range(8):
        bench.send(number, rows(1, POISON if number == 5 else number))
    bench.run_all()
    error = bench.error(5)
    assert error.code == "prediction_failed"
    assert "poisoned row" in error.message
    for number in {*range(8)} - {5}:
        np.testing.assert_array_equal(bench.outputs(number)[0], rows(1, number) * 2)


def test_strings_are_cut_and_joined_by_their_lengths() -> None:
    bench = CoreBench((None,), max_batch_size=2, dtype="string")
    words = np.array([b"a", b"", "groß".encode(), b"dddd", b"ee"], dtype=object)
    bench.send(1, words)
    bench.send(2, words[3:])
    bench.run_all()
    assert bench.outputs(1)[0].tolist() == words.tolist()
    assert bench.outputs(2)[0].tolist() == words[3:].tolist()


def test_rows_of_different_shapes_never_share_a_batch() -> None:
    bench = CoreBench((None, None))
    bench.send(1, rows(1, width=3))
    bench.send(2, rows(1, width=5))
    bench.send(3, rows(1, 50, width=3))
    assert bench.run_all() == 2
    assert bench.outputs(2)[0].shape == (1, 5)
    np.testing.assert_array_equal(bench.outputs(3)[0], rows(1, 50) * 2)


def test_a_model_with_a_fixed_axis_0_runs_each_request_alone_and_unpadded() -> None:
    bench = CoreBench((3, 2))
    bench.send(1, rows(3, width=2))
    bench.send(2, rows(3, 9, width=2))
    assert bench.run_all() == 2
    np.testing.assert_array_equal(bench.outputs(2)[0], rows(3, 9, width=2) * 2)


def test_batches_are_bounded_by_bytes_too() -> None:
    bench = CoreBench((None, 256), max_batch_bytes=2048)
    for number in range(4):
        bench.send(number, np.zeros((1, 256), np.float32))
    bench.run_all()
    assert bench.runner.sizes == [2, 2]


def test_no_rows_give_outputs_of_no_rows_without_a_run() -> None:
    bench = CoreBench()
    bench.send(1, rows(0))
    assert bench.outputs(1)[0].shape == (0, 3)
    assert not bench.run_one()


def test_no_rows_of_an_unknown_output_shape_are_refused() -> None:
    bench = CoreBench((None, None))
    bench.send(1, rows(0))
    assert bench.error(1).code == "invalid_request"


def test_expired_work_is_answered_counted_and_never_run() -> None:
    bench = CoreBench()
    bench.send(1, rows(1), timeout_ms=10.0)
    bench.send(2, rows(1), timeout_ms=1000.0)
    bench.now += 0.5
    bench.run_all()
    assert bench.error(1).code == "expired_in_queue"
    assert bench.counters.requests_expired_total == 1
    assert bench.runner.sizes == [1]


def test_cancelled_work_is_counted_and_never_run() -> None:
    bench = CoreBench()
    bench.send(1, rows(1))
    bench.send_message(CancelRequest(id=1))
    bench.send_message(CancelRequest(id=99))
    assert not bench.run_one()
    assert bench.counters.requests_cancelled_total == 1
    assert not bench.answers


def test_a_cancel_from_another_peer_touches_nothing() -> None:
    bench = CoreBench()
    bench.send(1, rows(1))
    bench.send_message(CancelRequest(id=1), peer=b"other")
    bench.run_all()
    assert bench.outputs(1)[0].shape == (1, 3)


def test_the_queue_is_bounded_in_rows_and_the_refusal_says_when_to_return() -> None:
    bench = CoreBench(max_rows=8)
    bench.send(1, rows(8))
    bench.send(2, rows(1))
    error = bench.error(2)
    assert error.code == "overloaded"
    assert error.detail["retry_after_ms"] >= 1
    assert "max_queue_rows = 8" in error.message
    bench.run_all()
    bench.send(3, rows(1))
    bench.run_all()
    assert bench.outputs(3)[0].shape == (1, 3)


def test_the_queue_is_bounded_in_bytes() -> None:
    bench = CoreBench(max_bytes=30)
    bench.send(1, rows(2))
    bench.send(2, rows(1))
    assert bench.error(2).code == "overloaded"


def test_a_request_larger_than_the_queue_is_admitted_when_nothing_waits() -> None:
    bench = CoreBench(max_rows=8)
    bench.send(1, rows(50))
    bench.run_all()
    assert bench.outputs(1)[0].shape == (50, 3)


def test_a_window_holds_a_batch_back_until_it_is_full_or_over() -> None:
    bench = CoreBench(window_s=0.010, max_batch_size=2)
    bench.send(1, rows(1))
    assert not bench.run_one()
    assert bench.core.next_wakeup() == pytest.approx(100.010)
    bench.now += 0.011
    assert bench.run_one()
    assert bench.receipt(1).closed_by == "window"
    bench.send(2, rows(1))
    bench.send(3, rows(1))
    assert bench.run_one()
    assert bench.receipt(2).closed_by == "full"


def test_a_window_does_not_wait_for_more_rows_than_were_asked_for() -> None:
    bench = CoreBench(window_s=0.010, max_batch_size=8, count_bound=4)
    for number in range(3):
        bench.send(number, rows(1))
    assert not bench.run_one()
    bench.send(3, rows(1))
    assert bench.run_one()
    assert bench.runner.sizes == [4]
    assert bench.receipt(3).closed_by == "full"


def test_models_take_turns() -> None:
    bench = CoreBench(max_batch_size=1)
    other = CoreBench().runner
    bench.registry.put(served(doubling_spec((None, 3)), other, 1, model="other"))
    for number in range(4):
        bench.send(number, rows(1))
    bench.send(10, rows(1), model="other")
    bench.run_one()
    bench.run_one()
    assert (b"p", 10) in bench.answers


def test_draining_refuses_new_work_and_finishes_what_was_admitted() -> None:
    bench = CoreBench(window_s=10.0)
    bench.send(1, rows(1))
    bench.core.drain()
    bench.send(2, rows(1))
    assert bench.error(2).code == "draining"
    bench.run_all()
    assert bench.receipt(1).closed_by == "drain"


def test_what_is_left_at_the_end_of_the_drain_gets_a_retryable_error() -> None:
    bench = CoreBench()
    bench.send(1, rows(1))
    bench.core.abandon(ServerDrainingError("bye"))
    bench.collect()
    assert bench.error(1).error().is_retryable
    assert bench.core.open_requests == 0


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((1, 3), np.float64), ["x0", "float32[rows, 3]", "float64[1, 3]"]),
        (np.zeros((1, 4), np.float32), ["x0", "float32[rows, 3]", "float32[1, 4]"]),
        (np.zeros(3, np.float32), ["x0", "float32[3]", "x[None]"]),
        (np.zeros((), np.float32), ["x0", "float32[]"]),
    ],
)
def test_a_wrong_tensor_is_named_with_what_was_expected_and_got(array: np.ndarray, said: list[str]) -> None:
    bench = CoreBench()
    bench.send(1, array)
    error = bench.error(1)
    assert error.code == "tensor_mismatch"
    assert all(text in error.message for text in said), error.message


def test_inputs_of_different_rows_or_names_are_refused() -> None:
    bench = CoreBench((None, 3), (None, 3))
    bench.send(1, rows(2), rows(3))
    assert "different numbers of rows" in bench.error(1).message
    bench.send(2, rows(2))
    assert "expected the inputs 'x0'" in bench.error(2).message


def test_unknown_model_version_and_signature_say_what_there_is() -> None:
    bench = CoreBench()
    bench.send(1, rows(1), model="digit")
    bench.send(2, rows(1), version=9)
    bench.send(3, rows(1), version="canary")
    bench.send(4, rows(1), signature="train")
    codes = [bench.error(number).code for number in (1, 2, 3, 4)]
    assert codes == ["model_not_found", "version_not_found", "version_not_found", "signature_not_found"]
    assert "'m'" in bench.error(1).message


def test_an_id_in_use_is_refused_without_touching_the_first() -> None:
    bench = CoreBench()
    bench.send(1, rows(1))
    frames_before = bench.core.open_requests
    bench.core.receive(b"p", [*map(bytes, _request_frames())], bench.now)
    assert bench.core.open_requests == frames_before
    assert b"malformed" in bytes(bench.core.take_replies()[0][1][0])


def _request_frames() -> list[bytes]:
    from predictd_proto.frames import encode
    from predictd_proto.messages import PredictRequest

    return [bytes(f) for f in encode(PredictRequest(id=1, model="m", tensors=(Tensor.from_array("x0", rows(1)),)))]


@pytest.mark.parametrize("frames", [[b""], [b"pd"], [b"GET / HTTP/1.1"], [b"pd\x01\x03\xff"], [b"pd\x01\xfe\x80"], []])
def test_garbage_is_answered_counted_and_harms_nobody(frames: list[bytes]) -> None:
    bench = CoreBench()
    bench.send(1, rows(1))
    bench.send_frames(list(frames), peer=b"evil")
    bench.run_all()
    assert bench.error(None, peer=b"evil").code in ("malformed", "protocol_version")
    assert bench.counters.requests_malformed_total == 1
    np.testing.assert_array_equal(bench.outputs(1)[0], rows(1) * 2)


def test_requests_over_a_limit_are_refused() -> None:
    bench = CoreBench(limits=Limits(max_rows=4, max_request_bytes=100_000))
    bench.send(1, rows(5))
    assert bench.error(1).code == "request_too_large"
    bench.send(2, np.zeros((4, 10_000), np.float32))
    assert bench.error(2).code == "request_too_large"


def test_hello_is_welcomed_and_a_stranger_version_is_told_who_is_older() -> None:
    bench = CoreBench()
    bench.send_message(Hello(oldest=1, newest=3))
    welcome = bench.answers[b"p", None]
    assert isinstance(welcome, Welcome)
    assert (welcome.version, welcome.state, welcome.models) == (1, "ready", ("m",))
    bench.send_message(Hello(oldest=7, newest=9), peer=b"new")
    error = bench.error(None, peer=b"new")
    assert error.code == "protocol_version"
    assert "server is older" in error.message


@pytest.mark.parametrize("message", [StatusRequest(id=5), LoadRequest(id=5, model="m"), ReloadRequest(id=5)])
def test_control_messages_on_the_data_socket_are_sent_elsewhere(message: Message) -> None:
    bench = CoreBench()
    bench.send_message(message)
    assert f"a {type(message).__name__} does not belong on the data socket" in bench.error(5).message
    assert "orders are for the control socket" in bench.error(5).message
