"""What callers do and how answers are counted: windows, open loops, a call that fails, a process that is silent."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

import predictd
from benchmarks import workloads
from benchmarks.limits import echo_process
from benchmarks.loads import calls, ways
from benchmarks.loads.caller_process import arrivals
from benchmarks.loads.load import Crew, Load, Target, crew, rate_between
from benchmarks.processes import running
from benchmarks.processes.cpu import cpu_s
from benchmarks.processes.running import Conversation, conversation
from predictd.testing import FakeModel, fake_server, new_endpoint


@given(st.integers(2, 40), st.integers(1, 64), st.floats(0.01, 10), st.floats(0, 1))
def test_answers_that_come_in_batches_are_counted_at_their_rate(
    batches: int, size: int, every_s: float, offset: float
) -> None:
    ends = np.repeat(np.arange(batches + 3) * every_s, size)
    begin_s = (1 + offset) * every_s
    rate = rate_between(ends, begin_s, begin_s + batches * every_s)
    assert rate == pytest.approx(size / every_s)


def test_too_few_answers_for_a_window_still_give_a_rate() -> None:
    assert rate_between(np.array([2.0, 4.0]), 1.0, 1.5) == pytest.approx(2 / 3)


@given(st.floats(10, 5000), st.integers(0, 1000))
def test_arrivals_are_drawn_at_their_rate(rate: float, seed: int) -> None:
    dues = list(arrivals(rate, 0.5, 100.0, 101.5, seed))
    assert dues == sorted(dues)
    assert all(99.5 < due < 101.5 for due in dues)
    assert abs(len(dues) - 2 * rate) < 7 * (2 * rate) ** 0.5


def test_a_window_has_an_arrival_at_least() -> None:
    assert list(arrivals(1e-9, 0.1, 100.0, 100.1, 1)) == [100.0]


def mlp(**answers: object) -> FakeModel:
    pixels, scores = ("float32", (None, 64)), ("float32", (None, 10))
    return FakeModel("mlp", inputs={"pixels": pixels}, outputs={"scores": scores}, **answers)  # type: ignore[arg-type]


@pytest.mark.integration
def test_a_crew_asks_whoever_it_is_told_to() -> None:
    with fake_server(mlp(answer=[0.1] * 10), endpoint=new_endpoint()) as server, crew() as callers:
        asked = Target(calls.CLIENT, server.endpoint, os.getpid(), workloads.A.name)
        closed = callers.measure(asked, 3, 0.1)
        slow = callers.measure(asked, 3, 0.3, rate=50)
        rare = callers.measure(asked, 1, 0.01, rate=1)
        together = callers.beside([asked, Target(calls.RECEIPTS, *tuple_of(asked))], 2, 0.1)
        frames = callers.measure(Target(calls.FRAMES, *tuple_of(asked)), 1, 0.05)
        piped = callers.measure(Target(calls.PIPE, *tuple_of(asked)), 3, 0.05)
        drawn = callers.measure(Target(calls.PIPE, *tuple_of(asked)), 3, 0.3, rate=50)
        tasks = callers.measure(Target(calls.TASKS, *tuple_of(asked)), 3, 0.05)
    assert closed.per_second > slow.per_second
    assert closed.p99_us >= closed.p50_us > 0
    assert rare.p50_us > 0
    assert closed.client_cpu_us > 0
    assert closed.server_cpu_us > 0
    assert min(frames.per_second, piped.per_second, tasks.per_second) > 0
    assert drawn.answers == round(drawn.offered_per_second * 0.3) > 0
    assert (closed.offered_per_second, closed.is_overloaded) == (0, False)
    (_, silent), (_, told) = together
    assert silent.execute_ms == ()
    assert len(told.execute_ms) == len(told.took) > 0


@pytest.mark.integration
def test_ways_of_asking_count_their_answers() -> None:
    # In a process of their own: they keep their sockets and loops until it ends.
    asks = "import sys; from benchmarks.loads.ways import WAYS; print([WAYS[n](sys.argv[1], 2)(0.02) for n in WAYS])"
    with fake_server(mlp(answer=[0.1] * 10), endpoint=new_endpoint()) as server:
        done = subprocess.run([sys.executable, "-c", asks, server.endpoint], capture_output=True, text=True, check=True)
    counts = json.loads(done.stdout)
    assert len(counts) == len(ways.WAYS)
    assert all(count > 0 for count in counts), counts


def tuple_of(target: Target) -> tuple[str, int, str]:
    return target.endpoint, target.pid, target.workload


@pytest.mark.integration
def test_a_call_that_fails_ends_the_measurement() -> None:
    broken = mlp(answer=[0.1] * 10)
    with fake_server(broken, endpoint=new_endpoint()) as server, crew(1) as callers:
        asked = Target(calls.CLIENT, server.endpoint, os.getpid(), workloads.A.name)
        callers.measure(asked, 1, 0.01)
        with (
            server.faults.refuse(predictd.PredictionError("broken")),
            pytest.raises(RuntimeError, match="ended with exit code 1"),
        ):
            callers.measure(asked, 1, 0.05)


def test_a_loop_that_is_answered_less_than_it_asks_is_overloaded() -> None:
    assert Load(80.0, 1, 1, 1, 1, 10, 100.0).is_overloaded
    assert not Load(95.0, 1, 1, 1, 1, 10, 100.0).is_overloaded


@pytest.mark.integration
def test_a_refusal_ends_an_open_loop() -> None:
    with fake_server(mlp(answer=[0.1] * 10), endpoint=new_endpoint()) as server, crew(1) as callers:
        asked = Target(calls.PIPE, server.endpoint, os.getpid(), workloads.A.name)
        callers.measure(asked, 1, 0.01)
        with (
            server.faults.refuse(predictd.PredictionError("broken")),
            pytest.raises(RuntimeError, match="ended with exit code 1"),
        ):
            callers.measure(asked, 1, 0.1, rate=100)


@pytest.mark.integration
def test_an_echo_gives_frames_back() -> None:
    endpoint = new_endpoint()
    with conversation(echo_process.__name__, endpoint) as echo, crew(1) as callers:
        load = Crew(callers.members).measure(Target(calls.FRAMES, endpoint, echo.pid, "mlp"), 1, 0.05)
    assert load.per_second > 0


@pytest.mark.integration
def test_a_process_that_says_nothing_does_not_hold_the_benchmark_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "ANSWER_TIMEOUT_S", 0.1)
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    with running.running(command, stdout=subprocess.PIPE) as process:
        with pytest.raises(RuntimeError, match="said nothing"):
            Conversation(process)
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.integration
def test_what_a_killed_benchmark_has_started_ends_with_it() -> None:
    # It asks nothing of its standard input, as the daemon and Redis don't.
    program = (
        "import sys, time; from benchmarks.processes.running import running\n"
        "with running([sys.executable, '-c', 'import time; time.sleep(600)']) as process:\n"
        "    print(process.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as benchmark:
        assert benchmark.stdout is not None
        started = psutil.Process(int(benchmark.stdout.readline()))
        benchmark.kill()
    psutil.wait_procs([started], timeout=30)
    # Where nobody reaps orphans at once, it stays as a zombie.
    assert not started.is_running() or started.status() == psutil.STATUS_ZOMBIE


@pytest.mark.integration
def test_an_interrupted_wait_still_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    )

    def interrupt(process: subprocess.Popen[str], timeout: float | None = None) -> int:
        monkeypatch.undo()
        raise KeyboardInterrupt

    stack = contextlib.ExitStack()
    process = stack.enter_context(running.running([sys.executable, "-c", program], stdout=subprocess.PIPE))
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    monkeypatch.setattr(subprocess.Popen, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        stack.close()
    assert process.returncode == -signal.SIGKILL


def test_processor_time_is_that_of_all_threads() -> None:
    before = cpu_s(os.getpid())
    used = time.process_time()
    while time.process_time() < used + 0.02:
        pass
    assert 0.015 < cpu_s(os.getpid()) - before < 30


def test_a_process_that_is_gone_has_no_clock() -> None:
    with pytest.raises(OSError, match="process 999999999"):
        cpu_s(999999999)
