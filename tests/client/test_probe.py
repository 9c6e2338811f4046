"""Questions to a silent endpoint end in time, however the peer and the name service behave."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any

import pytest

from predictd.connections import lookups, probe
from predictd.deadline import Deadline
from tests.client.raw_server import RawServer


def test_a_peer_that_says_a_byte_now_and_then_does_not_hold_it_up(folder: str) -> None:
    said: list[int] = []
    has_left = threading.Event()

    def trickle(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for byte in b"\xff" + bytes(8) + b"\x7f" + bytes(2000):
                connection.sendall(bytes([byte]))
                said.append(byte)
                if has_left.wait(0.02):
                    return

    with RawServer(f"{folder}/s", trickle):
        listens, _ = probe.likely_cause(f"ipc://{folder}/s", Deadline(200))
        has_left.set()
    assert listens
    assert len(said) < 64, "it waited for the peer to be done"


def test_a_name_service_that_is_silent_is_asked_once_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    is_over = threading.Event()

    def slow(*arguments: Any, **options: Any) -> Any:
        asked.append(arguments)
        is_over.wait(60)
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    address = "tcp://silent.predictd.invalid:5555"
    try:
        for _ in range(3):
            assert not probe.is_listening(address, Deadline(50))
        listens, cause = probe.likely_cause(address, Deadline(50))
        assert (listens, len(asked)) == (False, 1)
        assert "the name service does not tell where 'silent.predictd.invalid' is" in cause
    finally:
        is_over.set()
    ends = Deadline(30_000)
    while "is unknown" not in probe.likely_cause(address, Deadline(1000))[1]:
        assert not ends.is_over


def test_every_address_of_a_name_is_tried_within_one_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # bound and not listening: refused
        places = [deaf.getsockname(), listener.getsockname()]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]
        monkeypatch.setattr(probe, "addresses_of", lambda host, port, deadline: found)
        assert probe.is_listening("tcp://two.invalid:1", Deadline(10_000))
        monkeypatch.setattr(probe, "addresses_of", lambda host, port, deadline: found[:1])
        assert "nothing listens on that port" in probe.likely_cause("tcp://two.invalid:1", Deadline(10_000))[1]


def test_an_answer_of_the_name_service_is_used_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    place = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 9))]

    def answers(host: str, port: int, **options: Any) -> Any:
        asked.append(host)
        return place

    monkeypatch.setattr(socket, "getaddrinfo", answers)
    for _ in range(5):
        assert lookups.addresses_of("kept.predictd.invalid", 9, Deadline(30_000)) == place
    assert len(asked) <= 2
    monkeypatch.setattr(lookups, "KEEP_S", 0.0)
    time.sleep(0.001)
    before = len(asked)
    lookups.addresses_of("kept.predictd.invalid", 9, Deadline(30_000))
    assert len(asked) == before + 1


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_numbers_need_no_name_service(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "Lookup", None)
    assert [where for *_, where in lookups.addresses_of(host, 5, Deadline(0))] == [(host, 5)]


@pytest.mark.parametrize("host", ["a" * 80, "x..y"])
def test_a_name_that_can_not_be_one_is_unknown(host: str) -> None:
    assert "is unknown" in probe.likely_cause(f"tcp://{host}:5555", Deadline(30_000))[1]
