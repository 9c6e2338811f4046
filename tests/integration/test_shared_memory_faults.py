"""Shared memory when something goes wrong: killed peers, late servers, forks, strangers. Nothing stays or mixes."""

from __future__ import annotations

import collections
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import predictd
from predictd.connections import segments as client_room
from predictd.connections import shared_room
from predictd_proto.errors import SegmentRefusedError
from predictd_proto.messages import Hello
from predictd_server.sockets import segments as server_room
from tests.client.fake_process import run_program
from tests.integration.test_large_tensors import MOST_ROWS, Counted, large
from tests.server.pump_bench import GATE, GatedRunner, PumpBench, running_pump
from tests.server.pump_process import PumpProcess, pump_process
from tests.server.shared_memory import memfds_of, needs_memfd
from tests.waiting import wait_until

pytestmark = needs_memfd


#: An allowed batch size: nothing is padded, so the graph reads the client's memory itself.
UNPADDED_ROWS = 1 << 15


def held(first: float = 0.25) -> np.ndarray[Any, Any]:
    """A request whose run goes on until the gate is opened."""
    x = large(UNPADDED_ROWS, first=first)
    x[0, 0] = GATE
    return x


@pytest.fixture
def pump() -> Iterator[PumpBench]:
    with running_pump(max_batch_size=MOST_ROWS) as bench:
        yield bench


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray[Any, Any]]:
    """What each run has read when it ended, however late that was."""
    inputs: list[np.ndarray[Any, Any]] = []
    run = GatedRunner.run

    def recorded(self: GatedRunner, arrays: Any) -> Any:
        outputs = run(self, arrays)
        inputs.append(arrays[0].copy())
        return outputs

    monkeypatch.setattr(GatedRunner, "run", recorded)
    return inputs


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


ASKER = """
import sys
import numpy as np
import predictd
from tests.integration.test_shared_memory_faults import held, large
client = predictd.Client(sys.argv[1], timeout_ms=600_000, retries=None)
for _ in range(3):
    client.predict("m", large())
print("asked", flush=True)
if sys.argv[2] == "held":
    client.predict("m", held())
while sys.argv[2] == "asking":
    client.predict("m", large())
sys.stdin.read()
"""


@pytest.fixture
def start_asker() -> Iterator[Callable[[str, str], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(endpoint: str, what: str) -> subprocess.Popen[str]:
        checkout = Path(__file__).parents[2]
        command = [sys.executable, "-c", ASKER, endpoint, what]
        asker = subprocess.Popen(command, cwd=checkout, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(asker)
        assert asker.stdout is not None
        assert asker.stdout.readline() == "asked\n"
        return asker

    yield start
    for asker in started:
        asker.kill()
        asker.communicate()


@pytest.mark.parametrize("what", ["idle", "asking", "held"])
def test_a_client_that_is_killed_leaves_nothing_in_the_server(
    pump: PumpBench, start_asker: Callable[[str, str], subprocess.Popen[str]], what: str
) -> None:
    before = descriptors(os.getpid())
    asker = start_asker(pump.endpoint, what)
    if what == "held":
        assert pump.runner.is_running.wait(60)
    assert any("map" in item for item in memfds_of())
    asker.kill()
    asker.communicate()
    if what == "held":
        # The run reads what it was given to its end; the memory of requests before it has gone.
        wait_until(lambda: pump.core.memory._clients == {})  # type: ignore[attr-defined]
        assert any("map" in item for item in memfds_of())
        pump.open_gate()
    wait_until(lambda: not memfds_of())
    wait_until(lambda: descriptors(os.getpid()) <= before)


def test_a_server_that_is_killed_leaves_nothing_in_the_client(run_directory: Path) -> None:
    with pump_process(f"{run_directory}/p.sock") as pump:
        client = predictd.Client(pump.endpoint, retries=None)
        kept = client.predict("m", large()).outputs
        client.predict("m", large())
        future = client.submit("m", held())
        wait_until(lambda: any("map" in item for item in memfds_of(pump.pid)))
        wait_until(lambda: client.status().running_ms > 0)
        assert memfds_of()
        pump.kill()
        with pytest.raises(predictd.ServerLostError):
            future.result()
        with pytest.raises(predictd.ServerUnavailableError):
            client.predict("m", large(), timeout_ms=300)
        np.testing.assert_array_equal(kept, large() * 2)
        client.close()
    wait_until(lambda: not memfds_of())
    assert not [name for name in os.listdir("/dev/shm") if "predictd" in name]


def test_a_server_that_is_killed_amid_its_answers_leaves_nothing_in_the_client(run_directory: Path) -> None:
    """Wherever the kill falls: while inputs are copied in, while the run reads them, or while outputs are written."""
    with pump_process(f"{run_directory}/p.sock") as pump:
        with predictd.Client(pump.endpoint, retries=None) as client:
            answers = client.map("m", itertools.repeat(large()), window=4)
            for _ in range(20):
                np.testing.assert_array_equal(next(answers).outputs, large() * 2)
            assert memfds_of()
            pump.kill()
            with pytest.raises((predictd.ServerLostError, predictd.ServerUnavailableError)):
                collections.deque(answers, maxlen=0)
        wait_until(lambda: not memfds_of())


def test_a_server_that_comes_back_is_shared_with_again(run_directory: Path) -> None:
    with predictd.Client(f"ipc://{run_directory}/p.sock") as client:
        for _ in range(2):
            with pump_process(f"{run_directory}/p.sock") as pump:
                for number in range(3):
                    x = large(first=number + 0.25)
                    np.testing.assert_array_equal(client.predict("m", x).outputs, x * 2)
                counters = client.status().counters
                assert counters["shared_inputs_total"] == 3
                assert counters["shared_outputs_total"] >= 2
                pump.kill()


def test_after_a_time_out_the_late_server_still_reads_what_it_was_sent(
    pump: PumpBench, ran: list[np.ndarray[Any, Any]]
) -> None:
    with predictd.Client(pump.endpoint, retries=None) as client:
        client.predict("m", large(UNPADDED_ROWS))
        with pytest.raises(predictd.DeadlineExceededError):
            client.predict("m", held(1000.25), timeout_ms=200)
        futures = [client.submit("m", large(UNPADDED_ROWS, number + 0.5)) for number in range(3)]
        pump.wait_queued(3)
        pump.open_gate()
        for number, future in enumerate(futures):
            np.testing.assert_array_equal(future.result().outputs, large(UNPADDED_ROWS, number + 0.5) * 2)
    np.testing.assert_array_equal(ran[1], held(1000.25))


def test_what_was_cancelled_is_still_read_and_its_late_answer_harms_nobody(
    pump: PumpBench, ran: list[np.ndarray[Any, Any]]
) -> None:
    with predictd.Client(pump.endpoint, retries=None) as client:
        client.submit("m", large(UNPADDED_ROWS)).result()
        client.submit("m", large(UNPADDED_ROWS)).result()
        first = client.submit("m", held(1000.25))
        assert pump.runner.is_running.wait(60)
        assert first.cancel()
        wait_until(lambda: pump.counters.requests_cancelled_total == 1)
        # A run's own answer is not sent after a cancel that came in time: this one is as if it had come too late.
        [dispatcher] = client._dispatchers.values()
        [line] = dispatcher._exchange._lines.values()
        [channel] = line.channels
        segments = channel.connection.segments
        assert segments is not None
        given_up = dict(segments._given_up)
        assert list(given_up.values()) == [client_room._rounded(large(UNPADDED_ROWS).nbytes)]
        assert len(segments.outputs(next(iter(given_up)), 1)) == next(iter(given_up.values()))
        # Memory that was free again would be used for this one, and read by the run before it.
        other = client.submit("m", large(UNPADDED_ROWS, 5000.25))
        pump.wait_queued(1)
        pump.open_gate()
        np.testing.assert_array_equal(other.result().outputs, large(UNPADDED_ROWS, 5000.25) * 2)
        assert not segments._loans
    np.testing.assert_array_equal(ran[2], held(1000.25))


def test_a_refused_request_is_sent_in_frames_by_itself(pump: PumpBench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        text = "not today"
        raise SegmentRefusedError(text)

    monkeypatch.setattr(shared_room, "_rooms", {})
    monkeypatch.setattr(server_room, "map_memfd", refuse)
    with predictd.Client(pump.endpoint, retries=None) as client:
        for ask in (client.predict, lambda *words: client.submit(*words).result()):
            np.testing.assert_array_equal(ask("m", large()).outputs, large() * 2)
        # Once: for a while nothing is tried any more, on no connection.
        assert pump.counters.segments_refused_total == 1
        assert pump.counters.framed_inputs_total == 2
        for made in shared_room._rooms.values():
            made._refused = None
        np.testing.assert_array_equal(client.submit("m", large()).result().outputs, large() * 2)
        assert pump.counters.segments_refused_total == 2


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), MemoryError()])
def test_without_descriptors_or_memory_they_travel_in_frames(
    pump: PumpBench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> int:
        raise error

    with predictd.Client(pump.endpoint) as client:
        client.predict("m", large(1))
        monkeypatch.setattr(os, "memfd_create", fail)
        np.testing.assert_array_equal(client.predict("m", large()).outputs, large() * 2)
        assert Counted(pump)._before["framed_inputs_total"] == 1


def test_a_system_without_memfds_does_not_ask_for_the_road(pump: PumpBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_room, "CAN_SHARE", False)
    hellos: list[Hello] = []
    answer = type(pump.core._greeting).answer

    def seen(self: Any, hello: Hello, **words: Any) -> Any:
        hellos.append(hello)
        return answer(self, hello, **words)

    monkeypatch.setattr(type(pump.core._greeting), "answer", seen)
    with predictd.Client(pump.endpoint) as client:
        np.testing.assert_array_equal(client.predict("m", large()).outputs, large() * 2)
    assert not any(hello.segments for hello in hellos)
    assert pump.counters.shared_inputs_total == 0


PROLOGUE = """
import gc, os, sys
import numpy as np
import predictd
from tests.integration.test_large_tensors import large
from tests.server.shared_memory import memfds_of
client = predictd.Client(sys.argv[1], timeout_ms=60_000)
def works(first):
    return np.array_equal(client.predict("m", large(first=first)).outputs, large(first=first) * 2)
def in_child(body):
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if body() else 1)
        finally:
            os._exit(3)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def test_a_child_uses_memory_of_its_own_and_the_parent_goes_on(pump: PumpBench) -> None:
    ran = run_program(
        PROLOGUE
        + """
assert works(0.25) and works(0.5)
kept = client.predict("m", large(first=0.75)).outputs
inherited = memfds_of()
def body():
    global client
    fine = works(1.25) and works(1.5) and np.array_equal(kept, large(first=0.75) * 2)
    kept[:] = 0
    # What was inherited is neither unmapped nor closed, not even with the client.
    client = None
    gc.collect()
    return fine and set(inherited) <= set(memfds_of())
assert in_child(body) == 0
assert works(2.25) and np.array_equal(kept, large(first=0.75) * 2)
assert memfds_of() == inherited
reader, writer = os.pipe()
pid = os.fork()
if pid == 0:
    os.read(reader, 1)
    os._exit(0 if np.array_equal(kept, large(first=0.75) * 2) and works(3.25) else 1)
assert all(works(number + 0.25) for number in range(4, 9))
os.write(writer, b"x")
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
""",
        pump.endpoint,
    )
    assert ran.returncode == 0, ran.stderr
    assert pump.counters.segments_refused_total == 0
    assert pump.counters.framed_inputs_total == 0


def test_another_user_is_answered_in_frames(pump: PumpBench) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can be another user")
    path = Path(pump.endpoint.removeprefix("ipc://"))
    path.parent.chmod(0o711)
    for socket in (path, Path(f"{path}.control")):
        socket.chmod(0o666)
    ran = run_program(PROLOGUE + "os.setuid(65534)\nassert works(0.25) and works(0.5)", pump.endpoint)
    assert ran.returncode == 0, ran.stderr
    assert pump.counters.framed_inputs_total == pump.counters.framed_outputs_total == 2
    assert pump.counters.shared_inputs_total == pump.counters.segments_refused_total == 0


UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def check_unshare() -> None:
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare here")
    tried = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no process name space can be made here: {tried.stderr.strip()}")


def test_a_server_that_cannot_see_its_clients_process_answers_in_frames(run_directory: Path) -> None:
    check_unshare()
    with pump_process(f"{run_directory}/p.sock", UNSHARE) as pump, predictd.Client(pump.endpoint) as client:
        for _ in range(2):
            np.testing.assert_array_equal(client.predict("m", large()).outputs, large() * 2)
        counters = client.status().counters
        assert counters["framed_inputs_total"] == counters["framed_outputs_total"] == 2
        assert counters["shared_inputs_total"] == counters["segments_refused_total"] == 0
        assert client.status().pid < 100
        pump.end()


def test_a_client_in_a_name_space_of_its_own_is_found_by_the_number_that_the_server_sees(pump: PumpBench) -> None:
    check_unshare()
    program = PROLOGUE + "assert works(0.25) and works(0.5)"
    command = [*UNSHARE, sys.executable, "-c", program, pump.endpoint]
    checkout = Path(__file__).parents[2]
    ran = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert pump.counters.shared_inputs_total == 2


def test_ended_processes_are_pumps(run_directory: Path) -> None:
    pump = PumpProcess(f"{run_directory}/p.sock")
    assert pump.pid == pump.process.pid
    pump.end()
    assert pump.process.returncode == 0
