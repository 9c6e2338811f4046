"""A fake in a process of its own is killed, stopped and restarted as a real daemon, and steered from the test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import predictd
from predictd.testing import FakeModel, FakeProcess, fake_server, new_endpoint
from tests.client.fake_process import with_paths
from tests.testing_kit.conftest import ROWS, double, doubling

pytestmark = pytest.mark.integration
CLIENT = predictd.Client(retries=None, timeout_ms=30_000)

#: For the command line.
SERVED = doubling()


def test_it_is_killed_and_restarted_at_the_same_endpoint() -> None:
    with FakeProcess(doubling()) as process:
        seen = set()
        for _ in range(3):
            assert CLIENT.predict("double", ROWS).outputs.tolist() == (ROWS * 2).tolist()
            seen.add(process.pid)
            process.restart()
        assert len(seen) == 3
        process.kill()
        process.kill()
        with pytest.raises(predictd.ServerUnavailableError):
            predictd.Client(connect_timeout_ms=100, retries=None).predict("double", ROWS)


def test_a_request_under_way_is_lost_with_it_and_asked_again() -> None:
    with (
        FakeProcess(doubling()) as process,
        process.fault("die", after=0),
        predictd.Client(timeout_ms=60_000) as client,
    ):
        with pytest.raises(predictd.ServerLostError):
            CLIENT.predict("double", ROWS)
        process.wait_until_dead()
        process.restart()
        assert client.predict("double", ROWS).receipt.model == "double"


def test_to_die_is_to_be_killed() -> None:
    with FakeProcess(doubling()) as process:
        pid = process.pid
        with process.fault("die"), pytest.raises(predictd.ServerLostError):
            CLIENT.predict("double", ROWS)
        process.wait_until_dead()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert process.exit_code == -signal.SIGKILL


def test_it_is_stopped_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeProcess(doubling()) as process:
        CLIENT.predict("double", ROWS)
        process.stop()
        with pytest.raises(predictd.DeadlineExceededError, match="busy, stuck or stopped"):
            CLIENT.predict("double", ROWS, timeout_ms=100)
        monkeypatch.setattr("predictd.testing.fake_process._ANSWER_S", 0.01)
        with pytest.raises(predictd.ConfigError, match=r"says nothing for 0\.01 s: stopped\? Use resume"):
            process.request_count()
        process.resume()
        assert CLIENT.predict("double", ROWS).receipt.version == 1


def test_faults_and_counts_are_steered_from_here() -> None:
    with FakeProcess(doubling()) as process:
        with process.fault("refuse", error=predictd.PredictionError, times=1), pytest.raises(predictd.PredictionError):
            CLIENT.predict("double", ROWS)
        CLIENT.predict("double", ROWS)
        process.wait_for_requests(2, "double")
        assert (process.request_count(), process.request_count("other")) == (2, 0)
        process.reset()
        assert process.request_count() == 0
        with pytest.raises(AssertionError, match=r"expected within 0\.01 s: 1 requests, got 0"):
            process.wait_for_requests(1, timeout_s=0.01)
        with pytest.raises(predictd.ConfigError, match="no such switch"), process.fault("nonsense"):
            pass
        assert process.terminate() == 0


def test_a_fault_is_on_from_the_line_that_switches_it_on() -> None:
    with FakeProcess(doubling()) as process:
        process.fault("refuse", error=predictd.OverloadedError("busy"), times=1)
        with pytest.raises(predictd.OverloadedError):
            CLIENT.predict("double", ROWS)
        with pytest.raises(predictd.ConfigError, match="dye"):
            process.fault("dye")


def test_a_live_servers_endpoint_is_left_alone() -> None:
    with FakeProcess(doubling(), endpoint=new_endpoint()) as live:
        client = predictd.Client(live.endpoint, retries=None)
        with pytest.raises(predictd.ConfigError, match="already"), fake_server(doubling(), endpoint=live.endpoint):
            pass
        assert client.predict("double", ROWS).outputs.tolist() == (ROWS * 2).tolist()
        assert predictd.Client(live.endpoint, retries=None).models()


def test_constants_and_zeros_travel_and_two_run_at_once() -> None:
    constant = FakeModel(
        "mixed",
        inputs={"x": ("float32", (None, 4))},
        outputs=[("string", (None,)), {"n": ("bfloat16", (None, 2))}],
        answer=[["yes"], {"n": [1.5, 2.5]}],
    )
    zeros = FakeModel("zeros", inputs=("float32", (None, 4)), outputs=("int8", (None,)))
    with FakeProcess(constant) as first, FakeProcess(zeros, endpoint=new_endpoint()) as second:
        words, nest = predictd.RemoteModel("mixed", endpoint=first.endpoint).predict(ROWS)
        assert words.tolist() == [b"yes"] * 3
        assert np.asarray(nest["n"], np.float32).tolist() == [[1.5, 2.5]] * 3
        assert predictd.RemoteModel("zeros", endpoint=second.endpoint).predict(ROWS).tolist() == [0, 0, 0]


def test_a_function_without_a_name_cannot_travel() -> None:
    with pytest.raises(predictd.ConfigError, match="can't be found by name in another process"):
        FakeProcess(doubling(answer=lambda x: x))


def test_a_function_that_is_not_found_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(double, "__qualname__", "gone")
    with pytest.raises(predictd.ConfigError, match=r"tests\.testing_kit\.conftest:gone.*importable module"):
        FakeProcess(doubling()).__enter__()


def test_it_must_be_started() -> None:
    with pytest.raises(predictd.ConfigError, match="use it in a `with` statement"):
        FakeProcess(doubling()).stop()


def test_it_ends_with_its_parent() -> None:
    # A parent that is killed leaves its directory behind. A socket's path is short: no tmp_path.
    with tempfile.TemporaryDirectory() as directory:
        check_that_it_ends_with_its_parent({**with_paths(), "TMPDIR": directory})


def check_that_it_ends_with_its_parent(environment: dict[str, str]) -> None:
    program = (
        "import os, signal, predictd.testing as t\n"
        "p = t.FakeProcess().__enter__(); print(p.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        # The pipe ends when the last process that holds it has ended: the grandchild has its own.
        parent.wait(60)
    wait_until_gone(pid)


def wait_until_gone(pid: int) -> None:
    import psutil

    try:
        psutil.Process(pid).wait(60)
    except psutil.NoSuchProcess:
        return


@pytest.mark.parametrize("way", ["model", "recording"])
def test_the_command_serves_until_it_is_told_to_stop(way: str, tmp_path: Path) -> None:
    from predictd.testing import fake_server, record

    path = tmp_path / "calls.predictd"
    with fake_server(doubling(), endpoint=new_endpoint()) as real, record(path, endpoint=real.endpoint):
        CLIENT.predict("double", ROWS)
    endpoint = new_endpoint()
    what = ["--replay", str(path)] if way == "recording" else ["tests.testing_kit.test_fake_process:SERVED"]
    command = [sys.executable, "-m", "predictd.testing", "serve", *what, "--endpoint", endpoint]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=with_paths()) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == f"<FakeServer at {endpoint}: double>\n"
        with predictd.Client(endpoint) as client:
            assert client.predict("double", ROWS).outputs.tolist() == (ROWS * 2).tolist()
        process.terminate()
        assert process.wait(60) == 0


def test_the_command_says_what_is_wrong() -> None:
    command = [sys.executable, "-m", "predictd.testing", "serve", "nowhere:x"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=with_paths())
    assert (ran.returncode, ran.stdout) == (78, "")
    assert "'nowhere:x': expected an importable module, a colon and a name in it" in ran.stderr
