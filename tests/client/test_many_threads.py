"""One client, very many threads, with forks and closes in between: right answers, and nothing left open afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.client.counted_process import CountedProcess
from tests.client.fake_process import run_program

PROLOGUE = """
import os, signal, sys, threading, time
import numpy as np
import predictd

THREADS, CALLS = 64, 80
client = predictd.Client(sys.argv[1:], timeout_ms=300_000)
model = predictd.RemoteModel("double", client=client)
failures = []

def descriptors():
    return len(os.listdir("/proc/self/fd"))

def wait_until(holds):
    end_s = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end_s, "not within a minute"
        time.sleep(0.01)

def call(caller, calls=CALLS):
    try:
        for n in range(calls):
            rows = np.full((1 + (caller + n) % 5, 4), caller * 10_000 + n, np.float32)
            got = model.predict(rows) if n % 2 else client.predict("double", rows).outputs
            assert got.shape == rows.shape and (got == rows * 2).all(), (caller, n)
    except BaseException as error:
        failures.append(repr(error))

def together(target, count=THREADS):
    threads = [threading.Thread(target=target, args=(number,)) for number in range(count)]
    for thread in threads: thread.start()
    return threads

def in_child(body):
    pid = os.fork()
    if pid == 0:
        signal.alarm(240)  # ends with the test, whatever happens
        try:
            os._exit(0 if body() else 1)
        finally:
            os._exit(3)
    return pid

def ended_well(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

def works():
    call(999, 20)
    return not failures
"""

PROGRAMS = {
    "threads": """
threads = together(call)
for thread in threads: thread.join()
assert not failures, failures[:3]
""",
    "closes": """
stop = threading.Event()
def close_often():
    while not stop.wait(0.002): client.close()
closers = [threading.Thread(target=close_often) for _ in range(3)]
for thread in closers: thread.start()
for thread in together(call): thread.join()
stop.set()
for thread in closers: thread.join()
assert not failures, failures[:3]
""",
    "forks": """
threads = together(call)
children = []
while any(thread.is_alive() for thread in threads) and len(children) < 8:
    children.append(in_child(works))
for thread in threads: thread.join()
assert all([ended_well(pid) for pid in children]), "a child failed"
assert not failures, failures[:3]
""",
    "children with threads": """
for thread in together(lambda caller: call(caller, 10)): thread.join()
def crowd():
    for thread in together(lambda caller: call(caller, 20), 16): thread.join()
    client.close()
    return not failures
assert all([ended_well(pid) for pid in [in_child(crowd) for _ in range(4)]]), "a child failed"
assert works()
""",
}

EPILOGUE = """
client.close()
links = client.asking.routes.links
assert all(link._pool is None for link in links)
assert not any(route.under_way for route in client.asking.routes._routes.values())
# What stays is ZeroMQ's context: its own few descriptors, whatever the number of threads was.
wait_until(lambda: descriptors() <= before + 12)
"""


@pytest.mark.parametrize("endpoints", [1, 2])
@pytest.mark.parametrize("what", PROGRAMS)
def test_one_client_for_all(folder: str, what: str, endpoints: int) -> None:
    names = [f"ipc://{folder}/{number}.sock" for number in range(endpoints)]
    processes = [CountedProcess(name) for name in names]
    program = f"{PROLOGUE}\nbefore = descriptors()\n{PROGRAMS[what]}\n{EPILOGUE}"
    try:
        ran = run_program(program, *names, timeout_s=300)
        assert ran.returncode == 0, ran.stderr[-2000:]
        assert all(process.asked for process in processes)
    finally:
        for process in processes:
            process.kill()
    assert not [path for path in Path(folder).iterdir() if path.suffix not in {".sock", ".control"}]
