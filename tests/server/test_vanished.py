"""Clients that vanish, over real sockets: what they have queued is released while the engine is busy, and no more."""

from __future__ import annotations

import logging
import socket
import struct
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from predictd_proto.frames import encode
from predictd_proto.messages import CancelRequest, Hello, PredictRequest, PredictResponse
from predictd_proto.segments import SHARED_TENSOR_BYTES, PlacedTensor
from predictd_proto.tensors import Tensor
from predictd_server.sockets import frontend, routers
from tests.server.fake_model import rows
from tests.server.pump_bench import GATE, Caller, PumpBench, running_pump
from tests.server.shared_memory import needs_memfd, shared_memory

HELLO = Hello(oldest=1, newest=1)


def queue_up(caller: Caller, count: int, first: int = 1) -> None:
    for number in range(first, first + count):
        caller.ask(number)


def check_answers(caller: Caller, count: int, first: int = 1) -> None:
    for number in range(first, first + count):
        answer = caller.answer()
        assert isinstance(answer, PredictResponse)
        assert answer.id == number
        np.testing.assert_array_equal(answer.tensors[0].array(), rows(1, number) * 2)


def welcomed(pump: PumpBench) -> Caller:
    caller = pump.caller()
    caller.send(HELLO)
    caller.socket.recv()
    return caller


def has_taken(pump: PumpBench, count: int) -> bool:
    return pump.counters.requests_total == count


@pytest.mark.parametrize("says_hello", [0, 1, 2])
def test_what_a_client_has_queued_is_released_when_its_connection_ends(says_hello: int) -> None:
    with running_pump() as pump:
        holder, gone, here = pump.hold(), pump.caller(), pump.caller()
        for _ in range(says_hello):
            gone.send(HELLO)
            gone.socket.recv()
        queue_up(gone, 20)
        queue_up(here, 3)
        pump.wait_queued(23)
        gone.close()
        pump.wait_queued(3)
        assert pump.counters.requests_released_total == 20
        assert pump.core.admission.requests == 4
        pump.open_gate()
        check_answers(here, 3)
        assert holder.answer().id == 0
        assert pump.counters.replies_lost_total == 0


def test_what_runs_already_runs_to_its_end_and_its_reply_is_lost() -> None:
    with running_pump() as pump:
        holder, here = pump.hold(), pump.caller()
        queue_up(holder, 2)
        queue_up(here, 1)
        pump.wait_queued(3)
        holder.close()
        pump.wait_queued(1)
        pump.open_gate()
        check_answers(here, 1)
        pump.wait_for(lambda: pump.counters.replies_lost_total == 1)
        assert pump.counters.requests_released_total == 2


def test_a_cancel_just_before_the_end_counts_as_a_cancel() -> None:
    with running_pump() as pump:
        pump.hold()
        for number in range(1, 51):
            caller = pump.caller()
            caller.ask(number)
            pump.wait_queued(1)
            caller.send(CancelRequest(id=number))
            caller.close(linger_ms=60_000)
            pump.wait_queued(0)
        assert pump.counters.requests_cancelled_total == 50
        assert pump.counters.requests_released_total == 0


def test_a_storm_of_connections_that_die_never_costs_a_living_client_its_work() -> None:
    with running_pump() as pump:
        pump.hold()
        living = [welcomed(pump) for _ in range(8)]
        for turn in range(500):
            dying = pump.caller()
            dying.send(HELLO)
            if turn % 3:
                # As every client does: it asks for something once it has been welcomed.
                dying.socket.recv()
                dying.ask(turn)
            if turn % 2:
                living[turn % 8].ask(turn)
            dying.close(linger_ms=60_000 if turn % 5 else 0)
        pump.wait_for(lambda: pump.counters.requests_total >= 250)
        pump.wait_queued(250)
        pump.open_gate()
        for turn in range(1, 500, 2):
            check_answers(living[turn % 8], 1, turn)
        assert 200 < pump.counters.requests_released_total <= 333
        # The holder, the living, and those who went before they were welcomed.
        presence = pump.frontend._presence
        pump.wait_for(lambda: len(presence) == len(presence.known) == 9)


def test_descriptors_that_are_used_again_at_once_never_cost_a_living_client_its_work() -> None:
    with running_pump() as pump:
        pump.hold()
        for turn in range(1, 201):
            dying = welcomed(pump)
            dying.ask(turn)
            dying.close(linger_ms=60_000)
            living = welcomed(pump)
            living.ask(turn)
            pump.wait_for(partial(has_taken, pump, 2 * turn + 1))
            pump.wait_queued(1)
            living.close()
            pump.wait_queued(0)
        assert pump.counters.requests_released_total == 400


@pytest.mark.parametrize("routing_id", [b"worker-1", b"\0abcd"])
def test_a_client_with_a_routing_id_of_its_own_waits_for_its_deadline(routing_id: bytes) -> None:
    with running_pump() as pump:
        pump.hold()
        first = pump.caller(routing_id)
        first.ask(1, timeout_ms=300.0)
        first.ask(2, timeout_ms=60_000.0)
        pump.wait_queued(2)
        first.close()
        pump.wait_queued(1)
        assert pump.counters.requests_expired_total == 1
        assert pump.counters.requests_released_total == 0


def test_where_libzmq_does_not_tell_connections_apart_work_waits_for_its_deadline_and_the_log_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(frontend, "descriptor_of", lambda frame: None)
    with running_pump() as pump, caplog.at_level(logging.WARNING):
        pump.hold()
        for number in range(5):
            caller = pump.caller()
            caller.ask(number, timeout_ms=300.0)
            pump.wait_for(partial(has_taken, pump, number + 2))
            caller.close()
        pump.wait_queued(0)
        assert pump.counters.requests_expired_total == 5
        assert pump.counters.requests_released_total == 0
        assert len([record for record in caplog.records if "deadline" in record.message]) == 1


def test_thousands_of_connections_during_one_long_run_on_the_pump_bring_nothing_to_a_stop() -> None:
    with running_pump(runs_inline=True) as pump:
        holder = pump.hold()
        path = pump.endpoint.removeprefix("ipc://")
        for _ in range(5000):
            with socket.socket(socket.AF_UNIX) as caller:
                # Blocks for ever where libzmq's I/O thread does: the queue of reports must have no bound.
                caller.settimeout(None)
                caller.connect(path)
        pump.open_gate()
        assert holder.answer().id == 0
        here = pump.caller()
        here.ask(1)
        check_answers(here, 1)


def test_the_log_names_the_process_that_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), running_pump() as pump:
        pump.hold()
        gone = pump.caller()
        queue_up(gone, 2)
        pump.wait_queued(2)
        gone.close()
        pump.wait_queued(0)
        pump.wait_for(lambda: f"2 of pid {Path('/proc/self').resolve().name}" in caplog.text)


TASK: dict[str, Any] = {"task_id": "t-1", "task_name": "shop.digit", "traceparent": "00-1"}
HELD = np.full((1, 3), GATE, np.float32)


@pytest.mark.parametrize("comes", ["while it runs", "when it is done"])
def test_a_task_whose_process_dies_in_mid_run_joins_that_run_when_it_comes_again(
    comes: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), running_pump() as pump:
        dying = pump.caller()
        dying.ask(5, HELD, **TASK)
        assert pump.runner.is_running.wait(60)
        dying.close()
        pump.wait_for(lambda: pump.counters.requests_kept_total == 1)
        again = pump.caller()
        if comes == "while it runs":
            again.ask(9, HELD, **TASK)
            pump.wait_for(lambda: pump.counters.requests_joined_total == 1)
            pump.open_gate()
        else:
            pump.open_gate()
            pump.wait_for(lambda: pump.core.shared.tasks.answers == 1)
            again.ask(9, HELD, **TASK)
        check_joined(pump, again)
        pid = Path("/proc/self").resolve().name
        assert f"kept for their tasks' next runs: 1 of pid {pid} (task shop.digit[t-1] traceparent 00-1)" in caplog.text


def test_so_it_does_where_the_run_keeps_the_pump_from_seeing_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    # How long a run must have been for the pump to look at who left meanwhile.
    monkeypatch.setattr(frontend, "LOOK_S", 0.0)
    with running_pump(runs_inline=True) as pump:
        dying = pump.caller()
        dying.ask(5, HELD, **TASK)
        assert pump.runner.is_running.wait(60)
        dying.close()
        # The pump's own, but the pump stands still.
        assert pump.frontend._events.socket.poll(60_000), "libzmq never told that the connection has ended"
        again = pump.caller()
        again.ask(9, HELD, **TASK)
        pump.open_gate()
        check_joined(pump, again)


@needs_memfd
def test_the_memory_of_a_process_that_died_is_given_back_while_its_task_s_work_still_waits() -> None:
    array = rows(SHARED_TENSOR_BYTES // 8, 1000.0)
    data = array.tobytes()
    with running_pump(max_batch_size=len(array)) as pump, shared_memory(len(data)) as memory:
        pump.hold()
        memory.mapping[:] = data
        dying = welcomed(pump)
        placed = PlacedTensor("x0", "float32", array.shape, data, 0, 0)
        dying.send(PredictRequest(id=5, model="m", tensors=(placed,), segments=(memory.segment,), **TASK))
        pump.wait_queued(1)
        assert pump.counters.segments_mapped_total == 1
        dying.close()
        pump.wait_for(lambda: pump.counters.requests_kept_total == 1)
        pump.wait_for(lambda: pump.counters.segments_released_total == 1)
        memory.mapping[:] = bytes(len(data))
        again = pump.caller()
        again.ask(9, array, **TASK)
        pump.wait_for(lambda: pump.counters.requests_joined_total == 1)
        pump.open_gate()
        answer = again.answer()
    assert isinstance(answer, PredictResponse)
    np.testing.assert_array_equal(answer.tensors[0].array(), array * 2)
    assert answer.receipt.closed_by == "joined"


def check_joined(pump: PumpBench, again: Caller) -> None:
    answer = again.answer()
    assert isinstance(answer, PredictResponse)
    assert (answer.id, answer.receipt.closed_by) == (9, "joined")
    np.testing.assert_array_equal(answer.tensors[0].array(), HELD * 2)
    assert len(pump.runner.sizes) == 1
    assert (pump.counters.requests_joined_total, pump.counters.replies_lost_total) == (1, 0)


def test_the_log_names_the_tasks_whose_work_is_released(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), running_pump() as pump:
        pump.hold()
        gone = pump.caller()
        gone.ask(1, task_name="shop.digit", traceparent="00-1")
        gone.ask(2)
        pump.wait_queued(2)
        gone.close()
        pump.wait_queued(0)
        pump.wait_for(lambda: "(task shop.digit[?] traceparent 00-1)" in caplog.text)
        assert "which were released: 2 of pid" in caplog.text


def greeting() -> bytes:
    """A ZMTP 3.1 peer's first words, without security: a greeting and the command READY of a DEALER."""
    ready = b"\5READY" + b"\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER"
    return b"\xff" + bytes(8) + b"\x7f\3\1" + b"NULL".ljust(20, b"\0") + bytes(32) + bytes([4, len(ready)]) + ready


def test_a_tcp_peer_that_vanishes_without_a_word_is_noticed_by_its_missing_heartbeat(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(routers, "HEARTBEAT_MS", 100)
    monkeypatch.setattr(routers, "HEARTBEAT_TIMEOUT_MS", 400)
    with running_pump(endpoint="tcp://127.0.0.1:*") as pump:
        pump.hold()
        here = pump.caller()
        queue_up(here, 1)
        port = int(pump.endpoint.rpartition(":")[2])
        tensor = Tensor.from_array("x0", rows(1, 5))
        body = bytes(encode(PredictRequest(id=5, model="m", tensors=(tensor,)))[0])
        with socket.create_connection(("127.0.0.1", port)) as silent:
            silent.settimeout(60)
            silent.sendall(greeting())
            heard = b""
            while b"ROUTER" not in heard:
                heard += silent.recv(1000)
            silent.sendall(bytes([0, len(body)]) + body)
            pump.wait_for(partial(has_taken, pump, 3))
            pump.wait_queued(1)
            assert pump.counters.requests_released_total == 1
            pump.open_gate()
            check_answers(here, 1)


def test_heartbeats_are_for_tcp_alone(tmp_path: Path) -> None:
    context = routers.new_context()
    from predictd_proto.limits import Limits

    for endpoint, beats_ms in ((f"ipc://{tmp_path}/s", 0), ("tcp://127.0.0.1:*", routers.HEARTBEAT_MS)):
        router = routers.router_socket(context, Limits())
        routers.bind_router(router, endpoint)
        assert router.getsockopt(zmq.HEARTBEAT_IVL) == beats_ms
        router.close(0)
    context.term()
