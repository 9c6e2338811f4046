"""Importing and constructing open nothing, so that both may happen before a fork."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

import predictd
from tests.client.fake_process import run_program

STATE = """
import os, sys, threading
def state():
    opened = [f'/proc/self/fd/{n}' for n in os.listdir('/proc/self/fd')]
    targets = {os.readlink(path) for path in opened if os.path.exists(path)}
    sockets = {target for target in targets if target.startswith(('socket', 'anon'))}
    return len(os.listdir('/proc/self/task')), threading.active_count(), sockets
import numpy, zmq
before = state()
import predictd
"""


def state_after(program: str) -> None:
    ran = run_program(f"{STATE}\n{program}\nassert state() == before, (before, state())")
    assert ran.returncode == 0, ran.stderr


def test_importing_starts_no_thread_and_opens_no_socket() -> None:
    state_after("assert not zmq.Context._instance")


def test_making_clients_and_models_starts_no_thread_and_opens_no_socket() -> None:
    state_after(
        "c = predictd.Client(); d = predictd.Client('ipc:///nowhere/x.sock'); m = predictd.RemoteModel('m')\n"
        "repr(c), repr(d), repr(m); c.close(); d.close()"
    )


def test_the_client_imports_nothing_heavy() -> None:
    heavy = (
        "asyncio concurrent.futures importlib.metadata click rich tensorflow keras celery subprocess multiprocessing"
    )
    ran = run_program(
        "import sys, numpy, zmq\nbefore = set(sys.modules)\nimport predictd\n"
        f"print(*(set({heavy!r}.split()) & (set(sys.modules) - before)))"
    )
    assert ran.stdout.strip() == "", ran.stdout + ran.stderr


def test_only_the_transport_knows_zeromq() -> None:
    folder = Path(predictd.__file__).parent
    users = [path for path in folder.rglob("*.py") if re.search(r"^\s*(import|from) zmq", path.read_text(), re.M)]
    assert {str(path.relative_to(folder)) for path in users} == {"connections/transport.py", "testing/sockets.py"}


def test_everything_public_is_there() -> None:
    missing = [name for name in predictd.__all__ if not hasattr(predictd, name)]
    assert missing == []


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        predictd.nonsense  # type: ignore[attr-defined]  # noqa: B018


def test_a_client_is_made_before_the_environment_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREDICTD_ENDPOINT", "nonsense")
    client = predictd.Client()
    monkeypatch.setenv("PREDICTD_ENDPOINT", "tcp://127.0.0.1:7000")
    assert client.endpoint == "tcp://127.0.0.1:7000"


def test_a_wrong_endpoint_argument_is_an_error_at_once() -> None:
    with pytest.raises(predictd.ConfigError, match="expected ipc:///absolute/path or tcp://host:port"):
        predictd.Client("localhost:5555")


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan"), True, "10", 1e12])
def test_time_outs_are_finite_and_positive(value: float) -> None:
    with pytest.raises(predictd.ConfigError, match="timeout_ms: expected a number of milliseconds"):
        predictd.Client(timeout_ms=value)


def test_clients_and_models_pickle_as_their_arguments() -> None:
    client = predictd.Client("tcp://127.0.0.1:7000", timeout_ms=1234, retries=predictd.Retries(resends=3))
    copy = pickle.loads(pickle.dumps(client))
    assert (copy.endpoint, copy.timeout_ms) == (client.endpoint, 1234)
    assert copy.__reduce__() == client.__reduce__()
    model = pickle.loads(pickle.dumps(predictd.RemoteModel("m", client=client, version="stable")))
    assert (
        repr(model)
        == "<predictd.RemoteModel 'm' version 'stable' by <predictd.Client tcp://127.0.0.1:7000, time-out 1.2 s>>"
    )
