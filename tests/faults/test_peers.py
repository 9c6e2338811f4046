"""What peers may do to a daemon: garbage, no manners, no reading, dying in the middle. Nobody else is harmed."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import zmq

from predictd_proto.endpoints import Endpoint
from predictd_proto.frames import decode, encode
from predictd_proto.messages import ErrorResponse, Hello, PredictRequest, Welcome
from predictd_proto.tensors import Tensor
from tests.faults.situations import raw_dealer, sleep_for
from tests.waiting import wait_until

pytestmark = pytest.mark.integration


def test_garbage_harms_nobody_and_grows_nothing(start_daemon, models, digits) -> None:
    daemon = start_daemon(models / "mlp.keras")
    rng = np.random.default_rng(3)
    with daemon.client() as client:
        client.predict("mlp", digits[0][:1])
        before_bytes = daemon.status().rss_bytes or 0
        for endpoint in (daemon.endpoint, Endpoint.parse(daemon.endpoint).control):
            dealer = raw_dealer(endpoint)
            for turn in range(500):
                dealer.send_multipart([rng.bytes(int(rng.integers(0, 300))) for _ in range(int(rng.integers(1, 5)))])
                dealer.send(b"pd\x01" + bytes([turn % 256]) + rng.bytes(20))
            assert is_welcomed(dealer)
            dealer.close()
        assert client.predict("mlp", digits[0][:1]).outputs.shape == (1, 10)
    assert daemon.status().counters["requests_malformed_total"] >= 900
    assert (daemon.status().rss_bytes or 0) - before_bytes < 50 << 20


def is_welcomed(dealer: zmq.Socket) -> bool:
    """Ask until a `Welcome` comes: a reply to somebody with too many unread ones (ours are a thousand) is dropped."""
    hello = bytes(encode(Hello(oldest=1, newest=1))[0])
    for _ in range(30):
        dealer.send(hello)
        while dealer.poll(1000):
            if isinstance(decode([dealer.recv()]), Welcome):
                return True
    return False


def test_a_client_of_another_protocol_is_told_who_is_older(daemon) -> None:
    dealer = raw_dealer(daemon.endpoint)
    dealer.send(bytes(encode(Hello(oldest=200, newest=201))[0]))
    answer = decode([dealer.recv()])
    assert isinstance(answer, ErrorResponse)
    assert answer.code == "protocol_version"
    assert "server is older" in answer.message
    dealer.close()


def test_a_client_that_is_gone_before_its_answer_costs_one_counter(start_daemon, models) -> None:
    daemon = start_daemon(models / "sleeper")
    dealer = raw_dealer(daemon.endpoint)
    tensor = Tensor.from_array("seconds", sleep_for(5))
    dealer.send(bytes(encode(PredictRequest(id=1, model="sleeper", tensors=(tensor,)))[0]))
    wait_until(lambda: daemon.status().running_ms > 0)
    dealer.close(0)
    wait_until(lambda: daemon.status().counters["replies_lost_total"] == 1)
    with daemon.client() as client:
        assert client.predict("sleeper", sleep_for(0)).receipt.model == "sleeper"


BIG_READER = """
import os, sys, zmq
import numpy as np
from predictd_proto.frames import encode
from predictd_proto.messages import PredictRequest
from predictd_proto.tensors import Tensor
dealer = zmq.Context().socket(zmq.DEALER)
dealer.connect(sys.argv[1])
x = np.ones((200, 20_000, 4), np.float32)
dealer.send_multipart(encode(PredictRequest(id=1, model="sequence", tensors=(Tensor.from_array("words", x),))))
dealer.recv()
print("reading", flush=True)
while True:
    dealer.recv()
"""


def test_a_client_killed_in_mid_reply_harms_nobody_and_leaves_nothing(start_daemon, models) -> None:
    daemon = start_daemon(models / "sequence.keras")
    with daemon.client() as client:
        small = np.ones((1, 2, 4), np.float32)
        client.predict("sequence", small)
        for _ in range(3):
            reader = subprocess.Popen([sys.executable, "-c", BIG_READER, daemon.endpoint], stdout=subprocess.PIPE)
            assert reader.stdout is not None
            reader.stdout.readline()
            reader.kill()
            reader.wait()
            reader.stdout.close()
            assert client.predict("sequence", small).outputs.shape == (1, 2, 4)
        wait_until(lambda: daemon.status().queued_bytes == 0)
        assert daemon.status().counters["requests_ok_total"] >= 4


def test_limits_hold_against_a_peer_that_knows_no_manners(start_daemon, models, digits) -> None:
    daemon = start_daemon(models / "mlp.keras", "--max-rows", 100, "--max-request-bytes", 1_000_000)
    dealer = raw_dealer(daemon.endpoint)
    head = bytes(encode(PredictRequest(id=5, model="mlp", tensors=()))[0])

    def refusal(frames: list[bytes]) -> str:
        dealer.send_multipart(frames)
        answer = decode([dealer.recv()])
        assert isinstance(answer, ErrorResponse), answer
        return answer.code

    assert refusal([head] + [b"x"] * 5000) == "request_too_large"
    assert refusal([head, b"x" * 900_000, b"x" * 900_000]) == "request_too_large"
    many = Tensor.from_array("pixels", np.zeros((101, 64), np.float32))
    assert (
        refusal([bytes(f) for f in encode(PredictRequest(id=6, model="mlp", tensors=(many,)))]) == "request_too_large"
    )
    dealer.close()
    with daemon.client() as client:
        assert client.predict("mlp", digits[0][:1]).outputs.shape == (1, 10)


def test_a_reader_that_never_reads_is_held_to_a_number_of_replies(start_daemon, models) -> None:
    daemon = start_daemon(models / "sequence.keras")
    dealer = raw_dealer(daemon.endpoint, most_unread=1)
    x = np.ones((1, 50_000, 4), np.float32)
    tensor = Tensor.from_array("words", x)
    before_bytes = daemon.status().rss_bytes or 0

    def has_answered(requests: int) -> bool:
        return daemon.status().counters["requests_ok_total"] >= requests

    for number in range(600):
        dealer.send_multipart(encode(PredictRequest(id=number, model="sequence", tensors=(tensor,))))
        if number % 50 == 49:  # requests that wait are held too, and are not what is measured here
            wait_until(partial(has_answered, number + 1), 60)
    wait_until(lambda: daemon.status().counters["replies_lost_total"] > 0, 60)
    assert (daemon.status().rss_bytes or 0) - before_bytes < 400 << 20
    dealer.close()
