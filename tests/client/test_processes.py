"""A client used before a fork works in parent and child; spawned processes get it by pickle."""

from __future__ import annotations

import gc
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

import predictd
from predictd_proto.messages import Hello, PredictRequest
from tests.client.fake_process import run_program
from tests.client.fake_server import FakeServer

PROLOGUE = """
import ctypes, gc, os, sys, threading
import numpy as np
import predictd
endpoint = sys.argv[1]
client = predictd.Client(endpoint, timeout_ms=20_000)
model = predictd.RemoteModel("double", client=client)
rows = np.ones((2, 4), np.float32)
def works(): return client.predict("double", rows).outputs.sum() == 16 and model.predict(rows).sum() == 16
def in_child(body, fork=os.fork):
    pid = fork()
    if pid == 0:
        try:
            os._exit(0 if body() else 1)
        finally:
            os._exit(3)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def runs(endpoint: str, program: str) -> None:
    ran = run_program(f"{PROLOGUE}\n{program}", endpoint)
    assert ran.returncode == 0, ran.stderr


def test_parent_and_child_both_go_on_after_a_fork(server: FakeServer, endpoint: str) -> None:
    runs(
        endpoint,
        """
assert works()
inherited = client.asking.routes.links[0].pool
assert in_child(lambda: works() and client.asking.routes.links[0].pool is not inherited and len(inherited) == 1) == 0
assert works() and client.asking.routes.links[0].pool is inherited and len(inherited) == 1
""",
    )
    assert len(server.of(Hello)) == 2


def test_children_of_children_go_on_too(server: FakeServer, endpoint: str) -> None:
    runs(endpoint, "assert works() and in_child(lambda: works() and in_child(works) == 0 and works()) == 0 and works()")


def test_a_fork_that_runs_no_hooks_is_noticed_too(server: FakeServer, endpoint: str) -> None:
    runs(endpoint, "assert works() and in_child(works, fork=ctypes.PyDLL(None).fork) == 0 and works()")


def test_a_client_made_before_a_fork_and_used_after_it_works(server: FakeServer, endpoint: str) -> None:
    runs(endpoint, "assert in_child(works) == 0 and in_child(works) == 0 and works()")


def test_a_child_that_drops_the_client_does_not_disturb_the_parent(server: FakeServer, endpoint: str) -> None:
    runs(
        endpoint,
        """
def drop():
    global client, model
    client.close()
    del client, model
    gc.collect()
    return True
assert works() and in_child(drop) == 0 and works()
""",
    )
    assert len(server.of(Hello)) == 1


def test_a_fork_while_threads_are_calling_harms_neither_side(server: FakeServer, endpoint: str) -> None:
    runs(
        endpoint,
        """
stop = threading.Event()
failed = []
def call():
    while not stop.is_set():
        if not works(): failed.append(1)
threads = [threading.Thread(target=call) for _ in range(4)]
for thread in threads: thread.start()
codes = [in_child(works) for _ in range(5)]
stop.set()
for thread in threads: thread.join()
assert codes == [0] * 5 and not failed and works()
""",
    )


def test_a_child_that_waits_uses_no_processor_time(server: FakeServer, endpoint: str) -> None:
    server.replies = [server.replies[0]] * 2 + [lambda request: []]
    runs(
        endpoint,
        """
from tests.idle import idle_share
assert works()
def waits():
    def watch():
        try:
            idle_share()
            os._exit(0)
        finally:
            os._exit(4)
    threading.Thread(target=watch).start()
    client.predict("double", rows, timeout_ms=50_000)
    os._exit(5)
assert in_child(waits) == 0
""",
    )


def total(model: predictd.RemoteModel) -> float:
    return float(model.predict(np.ones((2, 4), np.float32)).sum())


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_ways_to_start_processes_get_the_model_by_pickle(server: FakeServer, endpoint: str, method: str) -> None:
    model = predictd.RemoteModel("double", endpoint=endpoint)
    assert total(model) == 16
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as processes:
        assert list(processes.map(total, [model] * 4)) == [16] * 4
    assert len(server.of(PredictRequest)) == 5


def test_clients_that_are_dropped_leave_no_sockets(server: FakeServer, endpoint: str) -> None:
    for _ in range(20):
        client = predictd.Client(endpoint)
        client.predict("double", np.ones((1, 4), np.float32))
        del client
    gc.collect()
    assert len(server.of(PredictRequest)) == 20


def test_a_fork_waits_for_what_another_thread_is_importing(server: FakeServer, endpoint: str) -> None:
    runs(
        endpoint,
        """
import builtins, signal, time
inside = threading.Event()
def slow(name, *arguments, original=builtins.__import__):
    if name == "socket" and not inside.is_set():
        inside.set()
        time.sleep(0.3)
    return original(name, *arguments)
builtins.__import__ = slow
def imports():
    import predictd.connections.probe
    return bool(predictd.connections.probe.is_listening)
thread = threading.Thread(target=imports)
thread.start()
assert inside.wait(30)
def finds_it_whole():
    signal.alarm(30)  # a child that waits for the parent's lock would do so for ever
    return imports()
assert in_child(finds_it_whole) == 0
thread.join()
""",
    )
